"""Collecting the faults of one file: all of them, each with its place, at a bounded cost."""

from __future__ import annotations

import re
from collections.abc import Iterable

from registry.errors import CatalogFault

LISTED_FAULTS = 10_000
SHOWN_CHARS = 80
_COMPARISONS = 20_000
_SIMPLE_KEY = re.compile(r"[A-Za-z0-9_.-]{1,120}")


class FaultList:
    """The faults of one file. Past `LISTED_FAULTS` they are counted, no longer kept."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.count = 0
        self._faults: list[CatalogFault] = []
        self._comparisons = _COMPARISONS

    def add(self, line: int | None, path: str, problem: str) -> None:
        self.count += 1
        if self.count <= LISTED_FAULTS:
            self._faults.append(CatalogFault(file=self.file, line=line, path=path, problem=problem))

    def may_suggest(self, names: int) -> bool:
        """Whether to look for a near name among so many: the first faults get one, a flood does not."""
        affordable = self._comparisons > 0
        self._comparisons -= names
        return affordable

    def in_file_order(self) -> list[CatalogFault]:
        """All faults by line; those without a line come first, and a count of the unlisted last."""
        faults = sorted(self._faults, key=lambda fault: fault.line or 0)
        if self.count > LISTED_FAULTS:
            rest = f"{self.count - LISTED_FAULTS} more faults are not listed; mend these first"
            faults.append(CatalogFault(file=self.file, line=None, path="", problem=rest))
        return faults


def key_path(parent: str, key: str) -> str:
    """The dotted path of a key: `models.qwen3-0.6b`, or `models['a b']` for a key that is no plain word.

    >>> key_path("models", "qwen3-0.6b"), key_path("models", "a b"), key_path("", "heads")
    ('models.qwen3-0.6b', "models['a b']", 'heads')
    """
    if not _SIMPLE_KEY.fullmatch(key):
        return f"{parent}[{shown(key)}]"
    return f"{parent}.{key}" if parent else key


def shown(value: str) -> str:
    """Quote what a file says for a message: control characters escaped, at most `SHOWN_CHARS` of it.

    >>> shown("a" * 100) == repr("a" * 80) + " (100 characters)"
    True
    """
    if len(value) <= SHOWN_CHARS:
        return repr(value)
    return f"{value[:SHOWN_CHARS]!r} ({len(value)} characters)"


def hint(suggestions: Iterable[str]) -> str:
    """The tail of a message that offers near names; empty when there are none.

    >>> hint(["a", "b"])
    "; did you mean 'a' or 'b'?"
    """
    quoted = [repr(name) for name in suggestions]
    return f"; did you mean {' or '.join(quoted)}?" if quoted else ""
