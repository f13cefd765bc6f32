"""A catalog's text under edit: each change is read again, and has to say what it should and nothing else."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Final

from registry.editing import splicing
from registry.errors import CatalogError, SpecregError, UnknownNameError, UsageError
from registry.names import fold, nearest
from registry.reading.faults import FaultList
from registry.reading.fields import HEAD, SECTIONS, Listing, Table, Text
from registry.reading.scalars import Odd, plain_value
from registry.reading.yaml_nodes import ListNode, MapNode, Node, ScalarNode, read_yaml
from registry.records import HEAD_SEPARATOR

_ORDER: Final = ("version", *SECTIONS, "heads")


class Draft:
    """A catalog's text under edit. Every method either does what it says, to `text`, or raises."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self._file = file
        self._data: dict[str, Any] = self._read(text)

    def names(self, section: str) -> tuple[str, ...]:
        """The names of a section's entries, in the order of the file."""
        return tuple(self._data.get(section, {}))

    def head_names(self) -> tuple[str, ...]:
        """The names of the file's heads, in its order."""
        return tuple(_head_name(head) for head in self._data.get("heads", []))

    def add_entries(
        self,
        section: str,
        entries: Mapping[str, Mapping[str, Any]],
        *,
        notes: Mapping[str, str] | None = None,
    ) -> None:
        """Add sources, tokenizers or models behind those there are, with comments by name if any.

        Raises:
            UsageError: An entry of that name is there.
        """
        for name in entries:
            if name in self.names(section):
                raise UsageError(
                    f"{section} of {self._file} has {name!r} already. "
                    "Change it with `specreg catalog set`, or take it out first."
                )
        if entries:
            self._require(section, {})
            data = self._changed()
            data[section] |= {name: dict(entry) for name, entry in entries.items()}
            wide = section == "models"
            self._take(splicing.with_pairs(self.text, (section,), entries, wide=wide, notes=notes), data)

    def add_heads(self, heads: Sequence[Mapping[str, Any]]) -> None:
        """Add heads behind those there are.

        Raises:
            UsageError: A head of that source, target and run is there.
        """
        known = {fold(name) for name in self.head_names()}
        for head in heads:
            if fold(_head_name(head)) in known:
                raise UsageError(f"heads of {self._file} has {_head_name(head)} already.")
        if heads:
            self._require("heads", [])
            data = self._changed()
            data["heads"] += [dict(head) for head in heads]
            self._take(splicing.with_items(self.text, ("heads",), heads), data)

    def remove_entry(self, section: str, name: str) -> None:
        """Take an entry out of a section. Raises UnknownNameError."""
        known = self.names(section)
        if name not in known:
            raise self._unknown(section.removesuffix("s"), name, known)
        data = self._changed()
        del data[section][name]
        self._take(splicing.without(self.text, (section, name)), data)

    def remove_head(self, name: str) -> str:
        """Take a head out; its full name. Raises UnknownNameError, or UsageError for one of several runs."""
        at = self._head_at(name)
        full = self.head_names()[at]
        data = self._changed()
        del data["heads"][at]
        self._take(splicing.without(self.text, ("heads", at)), data)
        return full

    def set_value(self, name: str, key: str, value: str, *, section: str | None = None) -> tuple[str, str]:
        """Give one key of an entry another value; the section and full name of what was changed.

        Args:
            name: A head, or an entry of `section`.
            key: A key of it; `training.steps` for one inside another.
            value: As typed: text, a number, true or false, a list with commas or in [], a mapping in {}.
            section: Where to look; where the name is when None.

        Raises:
            UnknownNameError: There is none of that name here, or a head has no such key.
            UsageError: Several things have the name, or the value cannot be read.
        """
        where, table, full = self._entry(name, section)
        parts = tuple(key.split("."))
        written = _value_of(table, parts, value)
        data = self._changed()
        parent: Any = copy.deepcopy(data[where[0]][where[1]])
        data[where[0]][where[1]] = parent
        while len(parts) > 1:
            if not isinstance(parent.get(parts[0]), dict):
                written, parts = {parts[-1]: written}, parts[:-1]
                continue
            parent, where, parts = parent[parts[0]], (*where, parts[0]), parts[1:]
        there = parts[0] in parent
        parent[parts[0]] = written
        text = (
            splicing.with_value(self.text, (*where, parts[0]), written)
            if there
            else splicing.with_pairs(self.text, where, {parts[0]: written})
        )
        self._take(text, data)
        return str(where[0]), full

    def _entry(self, name: str, section: str | None) -> tuple[tuple[Any, ...], Table, str]:
        """Where what is called `name` is, what keys it may have, and its full name."""
        if section == "heads" or (section is None and HEAD_SEPARATOR in fold(name)):
            at = self._head_at(name)
            return ("heads", at), HEAD, self.head_names()[at]
        found = [one for one in ([section] if section else SECTIONS) if name in self.names(one)]
        if not found:
            known = [known for one in SECTIONS for known in self.names(one)]
            raise self._unknown("entry", name, known)
        if len(found) > 1:
            kinds = " and a ".join(one.removesuffix("s") for one in found)
            raise UsageError(f"{name!r} is a {kinds}: say which with --in {' or --in '.join(found)}.")
        return (found[0], name), SECTIONS[found[0]][1], name

    def _head_at(self, name: str) -> int:
        known = [fold(one) for one in self.head_names()]
        wanted = fold(name)
        found = [at for at, one in enumerate(known) if one == wanted or one.rpartition("/")[0] == wanted]
        if not found:
            raise self._unknown("head", name, self.head_names())
        if len(found) > 1:
            runs = ", ".join(self.head_names()[at] for at in found)
            raise UsageError(f"{name} has several runs here: name one of {runs}.")
        return found[0]

    def _unknown(self, kind: str, name: str, known: Sequence[str]) -> SpecregError:
        return UnknownNameError(kind=f"{kind} of {self._file}", name=name, suggestions=nearest(name, known))

    def _require(self, section: str, empty: Any) -> None:
        """Give the file this section, if it has none."""
        if section not in self._data:
            data = {**self._data, section: empty}
            before = _ORDER[: _ORDER.index(section)]
            brackets = "{}" if empty == {} else "[]"
            self._take(splicing.with_section(self.text, section, empty=brackets, after=before), data)

    def _changed(self) -> dict[str, Any]:
        """What the text says, sections copied one level deep: a large catalog is not copied whole."""
        return {key: copy.copy(value) for key, value in self._data.items()}

    def _take(self, text: str, expected: dict[str, Any]) -> None:
        """Make `text` the draft's, if it says what it should."""
        try:
            found = self._read(text)
        except CatalogError:
            found = {}
        if found != expected:
            raise UsageError(
                f"{self._file} is laid out in a way that cannot be edited in place, and was left as it is. "
                "Make this change by hand, or write one entry a line first."
            )
        self.text, self._data = text, found

    def _read(self, text: str) -> dict[str, Any]:
        """What a text says, strictly read; its order is no part of that."""
        faults = FaultList(self._file)
        root = read_yaml(text, faults)
        if not faults.count and not isinstance(root, MapNode):
            faults.add(root.line if root else None, "", "expected a mapping that starts with 'version: 1'")
        data = _data(root)
        for section in (*SECTIONS, "heads"):
            kind = list if section == "heads" else dict
            if not faults.count and not isinstance(data.get(section, kind()), kind):
                faults.add(None, section, f"expected a {'list' if kind is list else 'mapping'}")
        if faults.count:
            raise CatalogError(faults.in_file_order())
        found: dict[str, Any] = data
        return found


def _head_name(head: object) -> str:
    if not isinstance(head, Mapping):
        return ""
    return f"{head.get('source')}{HEAD_SEPARATOR}{head.get('target')}/{head.get('run')}"


def _data(node: Node | None) -> Any:
    """A tree as plain values; text that is quoted is text, whatever it would be without quotes."""
    if isinstance(node, MapNode):
        return {key: _data(child) for key, child in node.items.items()}
    if isinstance(node, ListNode):
        return [_data(child) for child in node.items]
    if isinstance(node, ScalarNode):
        return plain_value(node.text) if node.plain else node.text
    return None


def _value_of(table: Table, parts: tuple[str, ...], value: str) -> Any:
    """What was typed, as the key's kind takes it; what does not fit is left for the loader to refuse."""
    kind: Any = table
    for part in parts:
        field = kind.fields.get(part) if isinstance(kind, Table) else None
        kind = field.kind if field is not None else None
    if isinstance(kind, Text):
        return value
    if isinstance(kind, Listing) and not value.startswith("["):
        return [part.strip() for part in value.split(",") if part.strip()]
    if value.startswith(("[", "{")):
        faults = FaultList("the value")
        found = _data(read_yaml(value, faults))
        if faults.count:
            raise UsageError(f"The value cannot be read: {'; '.join(map(str, faults.in_file_order()[:3]))}.")
        return found
    plain = plain_value(value)
    return value if isinstance(plain, Odd) or plain is None else plain
