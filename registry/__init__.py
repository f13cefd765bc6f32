"""specreg: a registry of acceptance prediction heads. Nothing here loads torch or transformers.

`resolve_pipeline("qwen3-0.6b", "qwen3-14b")` finds the chain and where its checkpoints are;
`Pipeline.load()` is the door to decoding.
"""

from registry.catalog import load_catalog
from registry.chains import Chain, resolve
from registry.errors import SpecregError
from registry.pipeline import Pipeline, resolve_pipeline
from registry.records import Catalog, Finding, Head, Model

__all__ = [
    "Catalog",
    "Chain",
    "Finding",
    "Head",
    "Model",
    "Pipeline",
    "SpecregError",
    "load_catalog",
    "resolve",
    "resolve_pipeline",
]
