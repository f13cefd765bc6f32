"""Where each value of a YAML text stands: the same parser as the strict reader's, asked for its marks.

Only for text that the strict reader has taken: it bounds size and depth and lets no anchor through.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

from registry.errors import UsageError

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(kw_only=True, slots=True)
class Marked:
    """A value and its place: characters `start` to `end`, comments and blank lines behind it left out.

    `column` is where it starts in its line. `flow` says that a collection is written in brackets. `pairs` are a
    mapping's keys with their values, `items` those of a list.
    """

    kind: Literal["map", "list", "scalar"]
    start: int
    end: int
    column: int
    flow: bool = False
    text: str = ""
    pairs: list[tuple[Marked, Marked]] = field(default_factory=list)
    items: list[Marked] = field(default_factory=list)

    def at(self, path: tuple[str | int, ...]) -> Marked:
        """The value at a path of keys and positions. Raises KeyError or IndexError where there is none."""
        found = self
        for part in path:
            found = found.items[part] if isinstance(part, int) else found.pair(part)[1]
        return found

    def pair(self, key: str) -> tuple[Marked, Marked]:
        """A mapping's key and value. Raises KeyError."""
        for name, value in self.pairs:
            if name.text == key:
                return name, value
        raise KeyError(key)


def mark_yaml(text: str) -> Marked:
    """The places of all values of a text that the strict reader has taken."""
    node = yaml.compose(text, Loader=_Loader)
    if node is None:
        raise UsageError("An empty text holds no value to edit; a catalog starts with 'version: 1'.")
    return _marked(node, text)


def _marked(node: Any, text: str) -> Marked:
    start, end = node.start_mark, node.end_mark.index
    if isinstance(node, yaml.ScalarNode):
        if node.style in ("|", ">"):  # its last mark is behind the line breaks that follow
            end = len(text[:end].rstrip())
        return Marked(kind="scalar", start=start.index, end=end, column=start.column, text=node.value)
    marked = Marked(
        kind="map" if isinstance(node, yaml.MappingNode) else "list",
        start=start.index,
        end=end,
        column=start.column,
        flow=bool(node.flow_style),
    )
    if marked.kind == "map":
        marked.pairs = [(_marked(key, text), _marked(value, text)) for key, value in node.value]
    else:
        marked.items = [_marked(item, text) for item in node.value]
    last = marked.pairs[-1][1] if marked.pairs else marked.items[-1] if marked.items else None
    if not marked.flow and last is not None:  # a block's own mark is where the next thing begins
        marked.end = last.end
    return marked
