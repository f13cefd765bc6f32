"""A strict reader of YAML: text to a light tree that remembers its lines.

It takes the parser's events in one pass and refuses, by name and line, what makes YAML surprising or
costly: anchors, aliases, merge keys, tags, several documents, deep nesting, duplicate keys. So the cost
is linear in the size of the text. What an unquoted word means is said in `scalars`.
"""

from __future__ import annotations

from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from registry.reading.faults import SHOWN_CHARS, FaultList, key_path, shown
from registry.reading.scalars import as_text, plain_value

try:
    from yaml._yaml import CParser as _Parser
except ImportError:  # PyYAML without libyaml: the same events, some ten times slower
    from yaml import Loader as _Parser  # type: ignore[assignment]

MAX_BYTES = 64 * 1024 * 1024
MAX_DEPTH = 16
MAX_NODES = 4_000_000


class ScalarNode:
    """A scalar as written. `plain` says that it stood without quotes."""

    __slots__ = ("line", "plain", "text")

    def __init__(self, text: str, plain: bool, line: int) -> None:
        self.text = text
        self.plain = plain
        self.line = line


class MapNode:
    """A mapping: each key with its value. Keys are unique text."""

    __slots__ = ("items", "key_lines", "line")

    def __init__(self, line: int) -> None:
        self.line = line
        self.items: dict[str, Node] = {}
        self.key_lines: dict[str, int] = {}


class ListNode:
    """A sequence."""

    __slots__ = ("items", "line")

    def __init__(self, line: int) -> None:
        self.line = line
        self.items: list[Node] = []


class BrokenNode:
    """What was refused on reading; its fault is already on the list."""

    __slots__ = ("line",)

    def __init__(self, line: int) -> None:
        self.line = line


Node = ScalarNode | MapNode | ListNode | BrokenNode


def read_yaml(data: str | bytes, faults: FaultList) -> Node | None:
    """The tree of a YAML text in UTF-8; None when it is empty or cannot be read to its end.

    Every refusal goes to `faults`. Bounds: MAX_BYTES, MAX_NODES values and keys, MAX_DEPTH levels.
    """
    text = _decoded(data, faults)
    if text is None:
        return None
    reader = _Reader(faults)
    try:
        parser = _Parser(text)
        while reader.reading and parser.check_event():
            reader.take(parser.get_event())
    except yaml.YAMLError as error:
        faults.add(*_syntax_fault(error, text))
        return None
    return reader.root if reader.reading else None


class _Reader:
    """Builds the tree from events; `reading` turns False where going on makes no sense."""

    def __init__(self, faults: FaultList) -> None:
        self.root: Node | None = None
        self.reading = True
        self._faults = faults
        self._open: list[MapNode | ListNode] = []
        self._keys: list[str | None] = []  # per open collection: the key that waits for its value
        self._documents = 0
        self._nodes = 0

    def take(self, event: Any) -> None:
        kind = type(event)
        if kind is ScalarEvent:
            self._scalar(event)
        elif kind is MappingStartEvent:
            self._start(event, MapNode(event.start_mark.line + 1))
        elif kind is SequenceStartEvent:
            self._start(event, ListNode(event.start_mark.line + 1))
        elif kind is MappingEndEvent or kind is SequenceEndEvent:
            self._end()
        elif kind is AliasEvent:
            self._alias(event)
        elif kind is DocumentStartEvent:
            self._document(event)

    def _scalar(self, event: Any) -> None:
        line: int = event.start_mark.line + 1
        top = self._open[-1] if self._open else None
        if event.anchor is not None or event.tag is not None:
            self._decorated(event, line)
        if type(top) is MapNode and self._keys[-1] is None:
            self._key(event, line, top)
        else:
            self._place(ScalarNode(event.value, not event.style, line))

    def _key(self, event: Any, line: int, parent: MapNode) -> None:
        key: str = event.value
        self._count(line)
        if not event.style:
            if key == "<<":
                self._refuse(line, "merge keys are refused: write the entries out")
            elif not isinstance(plain_value(key), str):
                self._refuse(line, f"the key {shown(key)} is not text; {as_text(key)}")
        if key in parent.items:
            self._keys[-1] = key
            self._refuse(line, f"given twice; first in line {parent.key_lines[key]}")
        else:
            parent.key_lines[key] = line
        self._keys[-1] = key

    def _start(self, event: Any, node: MapNode | ListNode) -> None:
        if event.anchor is not None or event.tag is not None:
            self._decorated(event, node.line)
        if self._awaits_key():
            self._stop(node.line, "a key has to be text, not a collection")
            return
        if len(self._open) >= MAX_DEPTH:
            self._stop(node.line, f"nested deeper than {MAX_DEPTH} levels")
            return
        self._place(node)
        self._open.append(node)
        self._keys.append(None)

    def _end(self) -> None:
        self._open.pop()
        self._keys.pop()
        if self._keys:
            self._keys[-1] = None

    def _place(self, node: Node) -> None:
        self._count(node.line)
        if not self._open:
            self.root = node
            return
        top = self._open[-1]
        if isinstance(top, ListNode):
            top.items.append(node)
            return
        top.items.setdefault(self._keys[-1] or "", node)  # of a key given twice, the first value
        if type(node) is ScalarNode or type(node) is BrokenNode:
            self._keys[-1] = None  # a collection keeps its key until it ends, for the paths of faults in it

    def _alias(self, event: Any) -> None:
        line: int = event.start_mark.line + 1
        self._refuse(line, f"aliases are refused: write the value in place of *{event.anchor[:SHOWN_CHARS]}")
        if self._awaits_key():
            self.reading = False
        else:
            self._place(BrokenNode(line))

    def _awaits_key(self) -> bool:
        return bool(self._open) and type(self._open[-1]) is MapNode and self._keys[-1] is None

    def _document(self, event: Any) -> None:
        self._documents += 1
        line = event.start_mark.line + 1
        if event.tags:
            self._refuse(line, "%TAG directives are refused")
        if self._documents > 1:
            self._stop(line, "a second document starts here; a catalog is one document")

    def _decorated(self, event: Any, line: int) -> None:
        if event.anchor is not None:
            self._refuse(line, f"anchors are refused: leave &{event.anchor[:SHOWN_CHARS]} out")
        if event.tag is not None:
            self._refuse(line, f"tags are refused: leave {shown(event.tag)} out")

    def _count(self, line: int) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._stop(line, f"more than {MAX_NODES:,} keys and values")

    def _refuse(self, line: int, problem: str) -> None:
        self._faults.add(line, self._path(), problem)

    def _stop(self, line: int, problem: str) -> None:
        if self.reading:
            self._refuse(line, problem)
        self.reading = False

    def _path(self) -> str:
        path = ""
        innermost = self._open[-1] if self._open else None
        for collection, key in zip(self._open, self._keys, strict=True):
            if isinstance(collection, ListNode):
                path = f"{path}[{len(collection.items) - (collection is not innermost)}]"
            elif key is not None:
                path = key_path(path, key)
        return path


def _decoded(data: str | bytes, faults: FaultList) -> str | None:
    if len(data) > MAX_BYTES:
        faults.add(None, "", f"larger than {MAX_BYTES // 1024**2} MiB, the most a catalog may be")
        return None
    if isinstance(data, bytes):
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            faults.add(line, "", f"is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}")
            return None
    if not data.isascii():
        try:
            data.encode("utf-8")
        except UnicodeEncodeError as error:
            faults.add(data.count("\n", 0, error.start) + 1, "", "holds half of a surrogate pair")
            return None
    return data.removeprefix("\ufeff")


def _syntax_fault(error: yaml.YAMLError, text: str) -> tuple[int | None, str, str]:
    """Line, path and problem of a text that is no YAML."""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        parts = [part for part in (error.context, error.problem) if part]
        return (mark.line + 1 if mark else None), "", f"is not YAML: {', '.join(parts)}"
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1 if error.position >= 0 else None
        return line, "", f"is not YAML: {error.reason}"
    return None, "", f"is not YAML: {error}"
