"""What goes into a Markdown file with YAML before it, when the words are not one's own.

Nothing that is put in ends a line, a table's cell or a quoted word, makes a link, a tag or a mention, or reads
back as something else than it was.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Final

LONGEST_CELL: Final = 200
LARGEST: Final = 1e300

_PLAIN_YAML = re.compile(r"[A-Za-z][A-Za-z0-9._/-]*")
_YAML_WORDS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_PLAIN_NAME = re.compile(r"[A-Za-z0-9._/-]+")
_BACKTICKS = re.compile(r"`+")
# All that means something inside a line; the dot ends the word of which GitHub's Markdown makes a link by itself.
_MARKUP = re.compile(r"([\\`*_\[\](){}<>|~&#!$@:^\"+]|(?<=www)\.)", re.IGNORECASE)


def yaml_scalar(text: str) -> str:
    """A YAML scalar that reads back as this text in every version of YAML.

    >>> yaml_scalar("Qwen/Qwen3-0.6B"), yaml_scalar("no"), yaml_scalar("a: b")
    ('Qwen/Qwen3-0.6B', '"no"', '"a: b"')
    """
    if _PLAIN_YAML.fullmatch(text) and text.lower() not in _YAML_WORDS:
        return text
    return '"' + "".join(map(_yaml_character, text)) + '"'


def plain_text(text: str) -> str:
    """One line of text in Markdown that shows as it is: no markup, no link, no HTML, no end of a table's cell.

    >>> plain_text("a|b <i>")
    'a\\\\|b \\\\<i\\\\>'
    """
    words = "".join(c if c.isprintable() else " " for c in text).split()
    line = " ".join(words) or ascii(text)  # blanks alone would leave a cell empty
    if len(line) > LONGEST_CELL:
        line = f"{line[: LONGEST_CELL - 1]}…"
    return _MARKUP.sub(r"\\\1", line)


def shown_name(text: str) -> str:
    """A name as code where it is made of what names are made of; escaped otherwise."""
    return f"`{text}`" if _PLAIN_NAME.fullmatch(text) else plain_text(text)


def shown_number(value: float | None) -> str:
    """A count in full, a measure to four digits; empty where there is none.

    >>> shown_number(48000), shown_number(0.7003929), shown_number(float("nan")), shown_number(None)
    ('48,000', '0.7004', '', '')
    """
    if value is None or not abs(value) < LARGEST:  # NaN is below nothing
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def shown_figure(value: object) -> str:
    """One figure for a cell; nothing for what is none: lists, null, NaN."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return shown_number(value)
    return plain_text(value) if isinstance(value, str) else ""


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A section with one table, whose cells are Markdown already; nothing where there are no rows."""
    if not rows:
        return ""
    lines = [_row(columns), _row(["---"] * len(columns)), *map(_row, rows)]
    return "\n".join([f"## {title}", "", *lines])


def fenced(language: str, lines: Sequence[str]) -> str:
    """A block of code, whose fence is longer than any run of backticks in it."""
    code = "\n".join(lines)
    fence = "`" * max(3, 1 + max((len(run) for run in _BACKTICKS.findall(code)), default=0))
    return f"{fence}{language}\n{code}\n{fence}"


def hub_link(text: str, repo: str | None) -> str:
    """A name, leading to a repository's page on the Hub where there is one."""
    if repo is None or not _PLAIN_NAME.fullmatch(repo):
        return shown_name(text)
    return f"[{shown_name(text)}](https://huggingface.co/{repo})"


def shell_word(word: str) -> str:
    """One word of a shell's line; what cannot be printed becomes a blank."""
    return shlex.quote("".join(c if c.isprintable() else " " for c in word))


def python_text(text: str) -> str:
    """A string as a Python program holds it."""
    return f'"{text}"' if _PLAIN_NAME.fullmatch(text) else ascii(text)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _yaml_character(character: str) -> str:
    code = ord(character)
    if character in '"\\':
        return f"\\{character}"
    if character.isascii() and character.isprintable():
        return character
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"
