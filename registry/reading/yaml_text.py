"""Values as YAML text that `yaml_nodes` reads back as they were."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from registry.reading.scalars import plain_value

_PLAIN = re.compile(r"[A-Za-z0-9.][A-Za-z0-9._/+-]*")


def flow(value: Any) -> str:
    """A value on one line: scalars as they are, lists in [], mappings in {}.

    >>> flow({"run": "exp-weight6-layer3", "date": "2024-01-01", "steps": 12})
    '{run: exp-weight6-layer3, date: "2024-01-01", steps: 12}'
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    return _scalar(value)


def block(key: str, entries: Mapping[str, Any]) -> list[str]:
    """Lines of a mapping of `entries` under `key`, one entry per line."""
    if not entries:
        return []
    return [f"{_scalar(key)}:", *(f"  {_scalar(name)}: {flow(entry)}" for name, entry in entries.items())]


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return repr(value)
    if _PLAIN.fullmatch(value) and plain_value(value) == value:
        return value
    import json  # noqa: PLC0415 - most text is plain

    return json.dumps(value, ensure_ascii=False)
