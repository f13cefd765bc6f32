"""specreg: a registry of acceptance prediction heads. Nothing here loads torch or transformers.

`resolve_pipeline("qwen3-0.6b", "qwen3-14b")` finds the chain and where its checkpoints are; `plan("qwen3-14b")` ranks
all that end there by how fast they should be on this machine; `Pipeline.load()` is the door to decoding.

Each name is fetched from its room when it is first asked for, so that a command comes to hear Ctrl-C at once.
"""

from importlib import import_module

TYPE_CHECKING = False  # typing's own takes longer to import than this whole file
if TYPE_CHECKING:
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
_ROOMS = {
    "Catalog": "registry.records",
    "Chain": "registry.chains",
    "Finding": "registry.records",
    "Head": "registry.records",
    "Model": "registry.records",
    "Pipeline": "registry.pipeline",
    "Plan": "registry.planning.planned",
    "PlannedChain": "registry.planning.planned",
    "SpecregError": "registry.errors",
    "__version__": "registry.version",
    "load_catalog": "registry.catalog",
    "plan": "registry.planning.door",
    "resolve": "registry.chains",
    "resolve_pipeline": "registry.pipeline",
}

if not TYPE_CHECKING:  # for a type checker a module that has this has every name there is

    def __getattr__(name: str) -> object:
        """A name of `__all__`, out of its room."""
        if name not in _ROOMS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(_ROOMS[name]), name)
        return found

    def __dir__() -> list[str]:
        """With what was not asked for yet."""
        return sorted({*globals(), *__all__})
