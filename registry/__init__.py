"""specreg: a registry of acceptance prediction heads. Nothing here loads torch or transformers.

`resolve_pipeline("qwen3-0.6b", "qwen3-14b")` finds the chain and where its checkpoints are; `plan("qwen3-14b")` ranks
all that end there by how fast they should be on this machine; `Pipeline.load()` is the door to decoding.
"""

from registry.catalog import load_catalog
from registry.chains import Chain, resolve
from registry.errors import SpecregError
from registry.pipeline import Pipeline, resolve_pipeline
from registry.planning.door import plan
from registry.planning.planned import Plan, PlannedChain
from registry.records import Catalog, Finding, Head, Model
from registry.version import __version__

__all__ = [
    "Catalog",
    "Chain",
    "Finding",
    "Head",
    "Model",
    "Pipeline",
    "Plan",
    "PlannedChain",
    "SpecregError",
    "__version__",
    "load_catalog",
    "plan",
    "resolve",
    "resolve_pipeline",
]
