"""Prompts to measure by: a set of our own, or a JSONL file in one of the shapes that people have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from registry.errors import UsageError

MAX_FILE_BYTES: Final = 64 << 20
MOST_TOLD: Final = 10  # lines that are no prompts, one by one
OWN: Final = "prompts.jsonl"


@dataclass(frozen=True, kw_only=True)
class BenchPrompt:
    """One prompt; of a conversation the first turn."""

    name: str
    category: str
    text: str


def own_prompts() -> list[BenchPrompt]:
    """The prompts that ship with the package."""
    return _parsed((files("heads.bench") / OWN).read_text(encoding="utf-8"), OWN)


def read_prompts(path: Path) -> list[BenchPrompt]:
    """Prompts of a JSONL file: objects with `prompt`, or with `turns` as Spec-Bench and MT-Bench have them.

    Raises:
        UsageError: it cannot be read, holds no prompt, or some lines are none; each is named, up to a bound.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(f"{path} is larger than {MAX_FILE_BYTES >> 20} MiB. Give fewer prompts.")
        text = path.read_text(encoding="utf-8-sig")  # editors of one system begin every file with a mark
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}. Name a JSONL file of prompts.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 at byte {error.start}. Save it as UTF-8.") from error
    return _parsed(text, str(path))


def chosen(
    prompts: Sequence[BenchPrompt], *, categories: Sequence[str] = (), limit: int | None = None
) -> list[BenchPrompt]:
    """Those of the categories named, or all; the first `limit` of them.

    Raises:
        UsageError: a category that no prompt has.
    """
    known = dict.fromkeys(prompt.category for prompt in prompts)
    for category in categories:
        if category not in known:
            raise UsageError(f"No prompt has the category {category!r}; there are {', '.join(known)}.")
    return [prompt for prompt in prompts if not categories or prompt.category in categories][:limit]


def _parsed(text: str, file: str) -> list[BenchPrompt]:
    found, odd = [], []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                found.append(_one(line, f"{file}:{number}"))
            except UsageError as error:
                odd.append(str(error))
    if len(odd) == 1:
        raise UsageError(odd[0])
    if odd:
        more = [f"and {len(odd) - MOST_TOLD:,} more"] if len(odd) > MOST_TOLD else []
        listed = "\n".join(f"  {one}" for one in [*odd[:MOST_TOLD], *more])
        raise UsageError(f"{len(odd):,} lines of {file} are no prompts:\n{listed}")
    if not found:
        raise UsageError(f"{file} holds no prompt. Give one JSON object a line, with `prompt` or `turns`.")
    return found


def _one(line: str, where: str) -> BenchPrompt:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where} is no JSON: {_said(error)}. Give one object a line.") from error
    text = _text(fields) if isinstance(fields, dict) else None
    if text is None:
        raise UsageError(
            f"{where} is no prompt: expected an object with text in `prompt`, or first in `turns`."
        )
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise UsageError(
            f"{where} is no prompt: its text holds half of a surrogate pair. Write the letter whole."
        )
    name = fields.get("id", fields.get("question_id", where.rpartition(":")[2]))
    return BenchPrompt(name=str(name), category=str(fields.get("category", "all")), text=text)


def _said(error: Exception) -> str:
    """What the parser found, and where in the line."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.removesuffix(' at')} at character {error.pos + 1}"
    return "nested too deep" if isinstance(error, RecursionError) else str(error)


def _text(fields: dict[str, Any]) -> str | None:
    turns = fields.get("turns")
    text = turns[0] if isinstance(turns, list) and turns else fields.get("prompt")
    return text if isinstance(text, str) and text else None
