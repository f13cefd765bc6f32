"""JSON read strictly: nothing doubled, nothing that another reader could take for something else."""

from __future__ import annotations

import json
from functools import partial
from typing import Any, NoReturn

MAX_DIGITS = 19  # what fits a signed 64-bit integer


class StrictJSONError(ValueError):
    """The bytes are not strict JSON. Field: line, where the parser knows it."""

    def __init__(self, problem: str, *, line: int | None = None) -> None:
        self.line = line
        super().__init__(problem)


def parse_json(
    data: bytes | bytearray | memoryview, *, floats: bool = True, max_digits: int = MAX_DIGITS
) -> object:
    """Parse UTF-8 JSON of a size the caller has bounded.

    Refused besides malformed JSON: duplicate keys, NaN and Infinity, -0 and integers past `max_digits`,
    lone surrogates, nesting past the interpreter's limit, and with `floats=False` every number that
    is not an integer.

    Raises:
        StrictJSONError: what is wrong, with the line where it is known.
    """
    try:
        text = str(data, "utf-8")
    except UnicodeDecodeError as error:
        raise StrictJSONError(f"not UTF-8 at byte {error.start}") from error
    try:
        value: object = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_int=partial(_integer, max_digits),
            parse_float=float if floats else _no_float,
            parse_constant=_no_constant,
        )
        if "\\u" in text:  # an escape is the only way in for half a surrogate pair
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except json.JSONDecodeError as error:
        raise StrictJSONError(f"not JSON: {error.msg} at character {error.pos}", line=error.lineno) from error
    except UnicodeEncodeError as error:
        raise StrictJSONError("a string holds a lone surrogate") from error
    except RecursionError as error:
        raise StrictJSONError("nested too deeply") from error
    return value


def shown(value: object, limit: int = 60) -> str:
    """`value` for a message: printable ASCII, at most `limit` characters or so."""
    if isinstance(value, int) and value.bit_length() > 256:
        return "a huge integer"
    text = ascii(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise StrictJSONError(f"the key {shown(key)} stands twice")
            seen.add(key)
    return found


def _integer(max_digits: int, digits: str) -> int:
    if len(digits.removeprefix("-")) > max_digits:
        raise StrictJSONError(f"an integer of {len(digits)} digits")
    if digits == "-0":
        raise StrictJSONError("the integer -0")
    return int(digits)


def _no_float(digits: str) -> NoReturn:
    raise StrictJSONError(f"the number {shown(digits)} is not an integer")


def _no_constant(name: str) -> NoReturn:
    raise StrictJSONError(f"{name} is no JSON number")
