"""The part of a loaded catalog that one of its files holds itself."""

from __future__ import annotations

from pathlib import Path

from registry.catalog import load_catalog
from registry.names import fold
from registry.reading.faults import FaultList
from registry.reading.layer import head_key
from registry.reading.yaml_nodes import MAX_BYTES, ListNode, MapNode, Node, ScalarNode, read_yaml
from registry.records import Catalog


def own_part(catalog: Catalog, file: Path) -> Catalog:
    """The entries of `catalog` that `file` names, in the catalog's order. Sound only for a file it was loaded from.

    Raises:
        CatalogError: The file has gone meanwhile, or was spoilt.
    """
    faults = FaultList(str(file))
    try:
        with file.open("rb") as stream:
            root = read_yaml(stream.read(MAX_BYTES + 1), faults)
    except OSError:
        root = None
    if not isinstance(root, MapNode) or faults.count:
        load_catalog(file)  # tells what is wrong
        return Catalog.model_construct()
    heads = root.items.get("heads")
    keys = {_key(node) for node in heads.items} if isinstance(heads, ListNode) else set()

    def named(section: str) -> dict[str, Node]:
        node = root.items.get(section) if isinstance(root, MapNode) else None
        return node.items if isinstance(node, MapNode) else {}

    return Catalog.model_construct(
        sources={name: one for name, one in catalog.sources.items() if name in named("sources")},
        tokenizers={name: one for name, one in catalog.tokenizers.items() if name in named("tokenizers")},
        models={name: one for name, one in catalog.models.items() if name in named("models")},
        heads=tuple(head for head in catalog.heads if head_key(head) in keys),
    )


def _key(node: Node) -> tuple[str, str, str]:
    """What `head_key` gives for a head that is written so."""
    items = node.items if isinstance(node, MapNode) else {}
    source, target, run = (items.get(name) for name in ("source", "target", "run"))
    return _text(source), _text(target), fold(_text(run))


def _text(node: Node | None) -> str:
    return node.text if isinstance(node, ScalarNode) else ""
