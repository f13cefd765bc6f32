"""A YAML text changed in one place: every other character, comments and line ends included, stays as it is.

Values are addressed by paths of keys and positions. Each function takes text that the strict reader has taken
and returns the new one; whoever calls reads that again and compares what it says with what it should.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from registry.editing.yaml_marks import Marked, mark_yaml
from registry.errors import UsageError
from registry.reading.yaml_text import flow

Where = tuple[str | int, ...]

STEP: Final = 2
_COMMA = re.compile(r"#[^\n]*|,")


def with_pairs(
    text: str,
    path: Where,
    pairs: Mapping[str, Any],
    *,
    wide: bool = False,
    notes: Mapping[str, str] | None = None,
) -> str:
    """Put pairs behind the last of the mapping at `path`; in block style each on its line.

    Args:
        text: The YAML text.
        path: Where the mapping is; () for the whole.
        pairs: The new keys and their values.
        wide: Write values that are mappings over several lines, where the mapping is in block style.
        notes: By key a comment behind it, where the mapping is in block style.
    """
    root = mark_yaml(text)
    node = root.at(path)
    if node.flow and not _opened(root, node, path):
        return _into_brackets(text, node, [_pair(key, value) for key, value in pairs.items()])
    lines: list[str] = []
    for key, value in pairs.items():
        note = f" # {notes[key]}" if notes and key in notes else ""
        if wide and isinstance(value, Mapping) and value:
            inner = [f"{' ' * STEP}{_pair(name, one)}" for name, one in value.items()]
            lines += [f"{flow(key)}:{note}", *inner]
        else:
            lines.append(_pair(key, value) + note)
    return _as_lines(text, root, node, lines)


def with_items(text: str, path: Where, items: Sequence[Any]) -> str:
    """Put items behind the last of the list at `path`."""
    root = mark_yaml(text)
    node = root.at(path)
    if node.flow and not _opened(root, node, path):
        return _into_brackets(text, node, [flow(item) for item in items])
    return _as_lines(text, root, node, [f"- {flow(item)}" for item in items])


def with_section(text: str, key: str, *, empty: str, after: Sequence[str]) -> str:
    """Put an empty collection under a new key of the whole, behind the last there is of the keys in `after`."""
    root = mark_yaml(text)
    before = [pair for pair in root.pairs if pair[0].text in after]
    if root.flow or not before:
        return with_pairs(text, (), {key: {} if empty == "{}" else []})
    newline = _newline(text)
    blank = newline if f"{newline}{newline}" in text else ""
    at = _behind(text, before[-1][1].end, root.column)
    return f"{text[:at]}{newline}{blank}{' ' * root.column}{flow(key)}: {empty}{text[at:]}"


def with_value(text: str, path: Where, value: Any) -> str:
    """Put another value in place of the one at `path`."""
    node = mark_yaml(text).at(path)
    space = "" if text[node.start - 1 : node.start] in (" ", "[", "{", "(") else " "
    return f"{text[: node.start]}{space}{flow(value)}{text[node.end :]}"


def without(text: str, path: Where) -> str:
    """Take out the pair or item at `path`; its parent stays, empty if need be.

    Comments inside what goes, behind it on its line, and deeper in than it right below, go with it.

    Raises:
        UsageError: It shares its line with its parent.
    """
    root = mark_yaml(text)
    parent, last = root.at(path[:-1]), path[-1]
    if isinstance(last, int):
        spans = [(item.start, item.end) for item in parent.items]
        at = last
    else:
        spans = [(key.start, value.end) for key, value in parent.pairs]
        at = [key.text for key, _ in parent.pairs].index(last)
    if parent.flow:
        return _out_of_brackets(text, parent, spans, at)
    first, end = _lines_of(text, parent, spans, at)
    whole = text[:first] + text[end:]
    return whole if len(spans) > 1 else _emptied(whole, root, path[:-1], parent)


def _pair(key: str, value: Any) -> str:
    return f"{flow(key)}: {flow(value)}"


def _opened(root: Marked, node: Marked, path: Where) -> bool:
    """Whether `[]` or `{}` right under a block mapping may be written as lines from now on."""
    return len(path) == 1 and not root.flow and not node.pairs and not node.items


def _into_brackets(text: str, node: Marked, parts: list[str]) -> str:
    members = [value.end for _, value in node.pairs] or [item.end for item in node.items]
    if members:
        return f"{text[: members[-1]]}, {', '.join(parts)}{text[members[-1] :]}"
    return f"{text[: node.start + 1]}{', '.join(parts)}{text[node.start + 1 :]}"


def _as_lines(text: str, root: Marked, node: Marked, lines: list[str]) -> str:
    newline, column, end = _newline(text), node.column, node.end
    if node.flow:  # empty: its brackets go, its lines come
        column, end = root.column + STEP, len(text[: node.start].rstrip(" "))
        text = text[:end] + text[node.end :]
        at = _behind(text, end, root.column)
    else:
        at = _behind(text, end, column)
    return text[:at] + "".join(f"{newline}{' ' * column}{line}" for line in lines) + text[at:]


def _behind(text: str, end: int, column: int) -> int:
    """The end of the line that holds `end`, or of the last comment below that is deeper in than `column`."""
    at = _line_end(text, end)
    while at < len(text):
        start = at + len(_break_at(text, at))
        stop = _line_end(text, start)
        line = text[start:stop]
        inner = line.lstrip(" ")
        if not inner.startswith("#") or len(line) - len(inner) <= column:
            break
        at = stop
    return at


def _lines_of(text: str, parent: Marked, spans: list[tuple[int, int]], at: int) -> tuple[int, int]:
    """Start and end of the whole lines that one member of a block takes."""
    start, end = spans[at]
    first = text.rfind("\n", 0, start) + 1
    if parent.kind == "list":
        gap = spans[at - 1][1] if at else parent.start - parent.column
        dashes = re.compile(rf"^ {{{parent.column}}}-(?=\s)", re.MULTILINE)
        found = [match.start() for match in dashes.finditer(text, gap, start)]
        first = found[-1] if found else -1
    elif text[first:start].strip(" ") not in ("", "?"):
        first = -1
    if first < 0:
        raise UsageError("What is to go shares its line with something else: give it lines of its own first.")
    stop = _behind(text, end, parent.column)
    following = len(_break_at(text, stop))
    if not following and first:  # the last line, without a break behind it
        first -= len(_break_at(text, first - 1)) + (text[first - 2 : first] == "\r\n")
    return first, stop + following


def _emptied(text: str, root: Marked, path: Where, parent: Marked) -> str:
    """Write `[]` or `{}` behind the key whose block has lost its last member."""
    key = root.at(path[:-1]).pair(str(path[-1]))[0]
    colon = re.compile(r"[ \t]*:").match(text, key.end)
    if colon is None:
        raise UsageError("The last entry of a section with an explicit key ('?') is not taken out here.")
    brackets = " []" if parent.kind == "list" else " {}"
    return text[: colon.end()] + brackets + text[colon.end() :]


def _out_of_brackets(text: str, parent: Marked, spans: list[tuple[int, int]], at: int) -> str:
    start, end = spans[at]
    behind = spans[at + 1][0] if at + 1 < len(spans) else parent.end
    comma = next((m.start() for m in _COMMA.finditer(text, end, behind) if m.group() == ","), None)
    if comma is not None:
        after = comma + 1 + (text[comma + 1 : comma + 2] == " ")
        return text[:start] + text[end:comma] + text[after:]
    before = spans[at - 1][1] if at else parent.start
    commas = [m.start() for m in _COMMA.finditer(text, before, start) if m.group() == ","]
    if not commas:
        return text[:start] + text[end:]
    return text[: commas[-1]] + text[commas[-1] + 1 : start].rstrip(" ") + text[end:]


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    if end < 0:
        return len(text)
    return end - 1 if text[end - 1 : end] == "\r" and end > at else end


def _break_at(text: str, at: int) -> str:
    """The line break that starts here; empty where none does."""
    return next((one for one in ("\r\n", "\n") if text.startswith(one, at)), "")
