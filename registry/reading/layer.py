"""One catalog file on its way to records: its sound entries, and a fault for each of the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from registry.names import fold
from registry.reading.entries import check_table, check_value, unknown_key
from registry.reading.faults import FaultList, key_path, shown
from registry.reading.fields import HEAD, SECTIONS, VERSION
from registry.reading.references import KnownNames
from registry.reading.scalars import plain_value
from registry.reading.yaml_nodes import BrokenNode, ListNode, MapNode, Node, ScalarNode, read_yaml
from registry.records import (
    Calibration,
    Catalog,
    Head,
    Model,
    Outlook,
    Source,
    TokenizerFamily,
    TrainingSummary,
)

_TOP_KEYS: Final = ("version", *SECTIONS, "heads")


def head_key(head: Head) -> tuple[str, str, str]:
    """What makes a head the same head. Runs that differ in case alone would share a folder on some disks."""
    return head.source, head.target, fold(head.run)


class Layer:
    """Reads one file; `known` are the names of the catalogs below, and grows by those of this one."""

    def __init__(self, faults: FaultList, base: Path, known: KnownNames) -> None:
        self._faults = faults
        self._base = base
        self._known = known

    def read(self, data: str | bytes) -> Catalog:
        before = self._faults.count
        root = read_yaml(data, self._faults)
        if root is None or not isinstance(root, MapNode):
            if self._faults.count == before:
                self._faults.add(
                    root.line if root else None, "", "expected a mapping that starts with 'version: 1'"
                )
            return Catalog.model_construct()
        self._check_top(root)
        sections = {section: self._section(root, section) for section in SECTIONS}
        self._name(sections)
        return Catalog.model_construct(
            sources=self._entries("sources", sections, Source),
            tokenizers=self._entries("tokenizers", sections, TokenizerFamily),
            models=self._entries("models", sections, Model),
            heads=self._heads(root.items.get("heads")),
        )

    def _check_top(self, root: MapNode) -> None:
        for key in root.items:
            if key not in _TOP_KEYS:
                unknown_key(key, root, list(_TOP_KEYS), "", self._faults)
        if "version" not in root.items:
            self._faults.add(root.line, "version", "missing; a catalog starts with 'version: 1'")
        else:
            check_value(root.items["version"], VERSION, "", "version", self._faults)

    def _section(self, root: MapNode, section: str) -> MapNode:
        node = root.items.get(section, MapNode(root.line))
        if isinstance(node, MapNode):
            return node
        self._expected("a mapping of names", node, section)
        return MapNode(node.line)

    def _expected(self, what: str, node: Node, path: str) -> None:
        if isinstance(node, ScalarNode) and node.plain and plain_value(node.text) is None:
            self._faults.add(node.line, path, f"expected {what}, got nothing; leave the key out")
        elif not isinstance(node, BrokenNode):
            self._faults.add(node.line, path, f"expected {what}")

    def _name(self, sections: dict[str, MapNode]) -> None:
        """Take the names in, then look at those that models refer to."""
        self._known.sources.update(dict.fromkeys(sections["sources"].items))
        self._known.tokenizers.update(dict.fromkeys(sections["tokenizers"].items))
        self._known.add_models(sections["models"], self._faults)
        self._known.check_models(sections["models"], self._faults)

    def _entries(self, section: str, sections: dict[str, MapNode], record: Any) -> dict[str, Any]:
        key_kind, table, _ = SECTIONS[section]
        node = sections[section]
        entries = {}
        for name, child in node.items.items():
            path = key_path(section, name)
            named = key_kind.accepts(name)
            if not named:
                self._faults.add(node.key_lines[name], path, f"expected {key_kind.expected}")
            values = check_table(child, table, path, self._faults)
            if values is None or not named:
                continue
            if record is not TokenizerFamily:
                values["base"] = self._base
            if record is Model:
                values["alias"] = name
            _tidy_path(values)
            # checked above, field by field: validating again would triple the time to start
            entries[name] = record.model_construct(**values)
        return entries

    def _heads(self, node: Node | None) -> tuple[Head, ...]:
        if node is None:
            return ()
        if not isinstance(node, ListNode):
            self._expected("a list of heads", node, "heads")
            return ()
        heads: dict[tuple[str, str, str], Head] = {}
        places: dict[tuple[str, str, str], int] = {}
        for index, child in enumerate(node.items):
            path = f"heads[{index}]"
            head = self._head(child, path)
            if head is None:
                continue
            key = head_key(head)
            if key in heads:
                self._faults.add(child.line, path, f"{shown(head.name)} is already heads[{places[key]}]")
            else:
                heads[key] = head
                places[key] = index
        return tuple(heads.values())

    def _head(self, node: Node, path: str) -> Head | None:
        if not isinstance(node, MapNode):
            check_table(node, HEAD, path, self._faults)
            return None
        values = check_table(node, HEAD, path, self._faults)
        self._known.check_head(node, path, self._faults)
        if values is None:
            return None
        if values["source"] == values["target"]:
            self._faults.add(node.line, path, f"leads from {shown(values['source'])} to itself")
        if "training" in values:
            values["training"] = TrainingSummary(**values["training"])
        if "calibration" in values:
            values["calibration"] = _calibration(values["calibration"])
        _tidy_path(values)
        return Head.model_construct(**values)


def _calibration(values: dict[str, Any]) -> Calibration:
    known = {way: Outlook(**values.pop(way)) for way in ("greedy", "sampled") if way in values}
    return Calibration(**values, greedy=known.get("greedy"), sampled=known.get("sampled"))


def _tidy_path(values: dict[str, Any]) -> None:
    """`./my-heads/` and `my-heads` are one folder."""
    if "path" in values:
        values["path"] = values["path"].removeprefix("./").rstrip("/") or "."
