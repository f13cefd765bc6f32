"""What an unquoted word of YAML means: the core of YAML 1.2, less what older readers take differently.

`no` was false once, `012` ten, `1:30` ninety, `2024-01-01` a date. Such words are ODD: neither text nor
anything else until they are quoted or written another way.
"""

from __future__ import annotations

import re
from typing import Final

_ODD_WORD = re.compile(
    r"yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF"
    r"|=|<<|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_LONGEST_ODD_WORD = 5
_ODD_NUMBER = re.compile(
    r"[-+]?0[0-9_]+"  # octal to one version, decimal to the next
    r"|[-+]?0(?:[xX][0-9a-fA-F_]+|o[0-7_]+|b[01_]+)"
    r"|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?"  # base 60
    r"|[-+]?[0-9][0-9_]*_[0-9_]*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?"
    r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:(?:[Tt]|[ \t]+)[0-9:. \tZ+-]*)?"
)
_WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_REAL = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_LONG_NUMBER = re.compile(r"[-+0-9._:eE]+|[-+]?0[xX][0-9a-fA-F_]+")
_WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
}
_NUMERIC_STARTS: Final = frozenset("0123456789+-.")
_LONGEST_NUMBER = 40


class Odd:
    """The value of a plain word that the versions of YAML read differently."""


ODD: Final = Odd()
Plain = str | int | float | bool | Odd | None


def plain_value(text: str) -> Plain:
    """What an unquoted scalar means: text, number, bool, None, or ODD.

    >>> plain_value("qwen3-0.6b"), plain_value("12"), plain_value("5e-05"), plain_value("true")
    ('qwen3-0.6b', 12, 5e-05, True)
    >>> plain_value("no") is ODD, plain_value("012") is ODD
    (True, True)
    """
    if text in _WORDS:
        return _WORDS[text]
    if len(text) <= _LONGEST_ODD_WORD and _ODD_WORD.fullmatch(text):
        return ODD
    return _number(text) if text[0] in _NUMERIC_STARTS else text


def _number(text: str) -> Plain:
    if len(text) > _LONGEST_NUMBER:  # the patterns below may backtrack
        return ODD if _LONG_NUMBER.fullmatch(text) else text
    if _ODD_NUMBER.fullmatch(text):
        return ODD
    if not _REAL.fullmatch(text):
        return text
    return int(text) if _WHOLE.fullmatch(text) else float(text)


def as_text(text: str) -> str:
    """How to write an unquoted word so that it is text."""
    return (
        f'write "{text}" with quotes' if text.isprintable() and len(text) <= _LONGEST_NUMBER else "quote it"
    )
