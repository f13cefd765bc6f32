"""Tree nodes to typed values, as the table of `schema` says; every departure from it is a fault."""

from __future__ import annotations

import math
from typing import Any, Final

from registry.names import nearest
from registry.reading.faults import FaultList, hint, key_path, shown
from registry.reading.fields import LARGEST_INT, Flag, Kind, Listing, Real, Table, Text, Whole
from registry.reading.scalars import ODD, as_text, plain_value
from registry.reading.yaml_nodes import BrokenNode, ListNode, MapNode, Node, ScalarNode

Values = dict[str, Any]
_MISSING: Final = object()
_WHAT: Final = {MapNode: "a mapping", ListNode: "a list"}


def check_table(node: Node, table: Table, path: str, faults: FaultList) -> Values | None:
    """The values of a mapping by key, or None when anything in it is at fault."""
    if not isinstance(node, MapNode):
        _wrong(node, f"a mapping of the keys of a {table.name}", path, faults)
        return None
    values: Values = {}
    before, sound = faults.count, True
    fields = table.fields
    for key, child in node.items.items():
        field = fields.get(key)
        if field is None:
            unknown_key(key, node, list(fields), path, faults)
            continue
        value = check_value(child, field.kind, path, key, faults)
        if value is _MISSING:
            sound = False
        else:
            values[key] = value
    for key, field in fields.items():
        if field.required and key not in node.items:
            faults.add(node.line, key_path(path, key), "missing")
    if table.places:
        _check_place(node, table.fewest, path, faults)
    return values if sound and faults.count == before else None


def unknown_key(key: str, node: MapNode, known: list[str], path: str, faults: FaultList) -> None:
    """Report a key that means nothing here."""
    near = nearest(key, known, limit=1) if faults.may_suggest(len(known)) else ()
    problem = f"unknown key{hint(near)}" if near else f"unknown key; known here: {', '.join(known)}"
    faults.add(node.key_lines.get(key, node.line), key_path(path, key), problem)


def check_value(node: Node, kind: Kind, path: str, key: str, faults: FaultList) -> Any:
    """The value of one field, or a marker that is no value after its fault was reported."""
    if isinstance(kind, Text):  # by far the most frequent
        if type(node) is ScalarNode and _is_text(node) and kind.accepts(node.text):
            return node.text
        return _refused_text(node, kind, key_path(path, key), faults)
    path = key_path(path, key)
    if isinstance(kind, Table):
        values = check_table(node, kind, path, faults)
        return _MISSING if values is None else values
    if isinstance(kind, Listing):
        return _listing(node, kind, path, faults)
    return _plain(node, kind, path, faults)


def _plain(node: Node, kind: Whole | Real | Flag, path: str, faults: FaultList) -> Any:
    if type(node) is ScalarNode and node.plain:
        value = plain_value(node.text)
        if _fits(value, kind):
            return float(value) if isinstance(kind, Real) else value  # type: ignore[arg-type]
    return _wrong(node, _expected(kind), path, faults)


def _fits(value: object, kind: Whole | Real | Flag) -> bool:
    if isinstance(kind, Flag):
        return isinstance(value, bool)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if isinstance(kind, Real):
        return math.isfinite(float(value)) and (kind.least is None or value >= kind.least)
    if not isinstance(value, int):
        return False
    return value == kind.only if kind.only is not None else kind.least <= value <= LARGEST_INT


def _expected(kind: Whole | Real | Flag) -> str:
    match kind:
        case Flag():
            return "true or false"
        case Real(least=None):
            return "a finite number"
        case Real():
            return f"a finite number from {kind.least:g} up"
        case Whole(only=None):
            return f"a whole number from {kind.least} up"
        case Whole():
            return str(kind.only)


def _listing(node: Node, kind: Listing, path: str, faults: FaultList) -> Any:
    if not isinstance(node, ListNode):
        return _wrong(node, "a list", path, faults)
    seen: dict[str, None] = {}
    sound = True
    for index, child in enumerate(node.items):
        place = f"{path}[{index}]"
        if not (type(child) is ScalarNode and _is_text(child) and kind.item.accepts(child.text)):
            _refused_text(child, kind.item, place, faults)
            sound = False
        elif child.text in seen:
            faults.add(child.line, place, f"{shown(child.text)} is listed twice")
            sound = False
        else:
            seen[child.text] = None
    return tuple(seen) if sound else _MISSING


def _is_text(node: ScalarNode) -> bool:
    return not node.plain or isinstance(plain_value(node.text), str)


def _refused_text(node: Node, kind: Text, path: str, faults: FaultList) -> Any:
    if type(node) is ScalarNode and _is_text(node):
        too_long = len(node.text) > kind.longest
        expected = f"at most {kind.longest} characters" if too_long else kind.expected
        faults.add(node.line, path, f"expected {expected}, got {shown(node.text)}")
        return _MISSING
    return _wrong(node, "text", path, faults)


def _wrong(node: Node, expected: str, path: str, faults: FaultList) -> Any:
    """Report a value of the wrong type; nothing for a node that was refused on reading."""
    if isinstance(node, ScalarNode):
        faults.add(node.line, path, f"expected {expected}, got {_what(node, expected)}")
    elif not isinstance(node, BrokenNode):
        faults.add(node.line, path, f"expected {expected}, got {_WHAT[type(node)]}")
    return _MISSING


def _what(node: ScalarNode, expected: str) -> str:
    if not node.plain:
        return f"the text {shown(node.text)}"
    value = plain_value(node.text)
    if value is None:
        return "nothing; give a value, or leave the key out"
    what = shown(node.text)
    if value is ODD:
        what = f"{what}, which versions of YAML read differently"
    elif not isinstance(value, str):
        what = f"the {'word' if isinstance(value, bool) else 'number'} {node.text[:40]}"
    return f"{what}; {as_text(node.text)}" if expected == "text" else what


def _check_place(node: MapNode, fewest: int, path: str, faults: FaultList) -> None:
    """`hub` stands alone, `path` alone or inside `package`, and only `hub` has a `revision`."""
    given = [key for key in ("hub", "package", "path") if key in node.items]
    if "hub" in given and len(given) > 1:
        faults.add(node.line, path, f"expected one place, got {' and '.join(given)}")
    if len(given) < fewest:
        faults.add(node.line, path, "expected one of hub, package or path, got none of them")
    if "revision" in node.items and "hub" not in given:
        line = node.key_lines["revision"]
        faults.add(line, key_path(path, "revision"), "a revision needs a hub repository beside it")
