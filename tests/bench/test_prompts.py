"""Prompts to measure by, in the shapes that people have them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from heads.bench.prompts import chosen, own_prompts, read_prompts
from registry.errors import UsageError


def test_our_own_cover_several_kinds_of_text() -> None:
    """
    At least four prompts of each of five categories ship with the package, each under a name of its own.
    """
    prompts = own_prompts()
    categories = {prompt.category for prompt in prompts}

    assert len({prompt.name for prompt in prompts}) == len(prompts)
    assert len(categories) >= 5
    assert all(sum(prompt.category == one for prompt in prompts) >= 4 for one in categories)


@pytest.mark.parametrize(
    ("line", "name", "category", "text"),
    [
        ({"prompt": "def f():"}, "1", "all", "def f():"),
        ({"id": "a", "category": "code", "prompt": "x"}, "a", "code", "x"),
        (
            {"question_id": 81, "category": "writing", "turns": ["Write.", "Again."], "reference": ["no"]},
            "81",
            "writing",
            "Write.",
        ),
    ],
    ids=["plain", "named", "spec-bench"],
)
def test_each_shape_is_read(
    line: dict[str, object], name: str, category: str, text: str, tmp_path: Path
) -> None:
    """
    A prompt has its text, its name (or line number) and category; of several turns the first is taken.
    """
    file = tmp_path / "prompts.jsonl"
    file.write_text(json.dumps(line) + "\n\n")

    (prompt,) = read_prompts(file)

    assert (prompt.name, prompt.category, prompt.text) == (name, category, text)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "holds no prompt"),
        (b'{"prompt": "x"}\nnot json\n', ":2 is no JSON"),
        (b'{"text": "x"}\n', ":1 is no prompt"),
        (b'{"turns": []}\n', ":1 is no prompt"),
        (b"[1]\n", ":1 is no prompt"),
        (b"\xff\n", "not UTF-8 at byte 0"),
        (b'{"prompt": "\\ud800"}\n', ":1 is no prompt: its text holds half of a surrogate pair"),
        (b"[" * 100_000, ":1 is no JSON: nested too deep"),
    ],
    ids=["empty", "no-json", "no-prompt", "no-turn", "no-object", "no-utf8", "half-a-letter", "deep"],
)
def test_what_is_no_prompt_is_told_with_its_line(content: bytes, told: str, tmp_path: Path) -> None:
    """
    A bad file is refused, by line.
    """
    file = tmp_path / "prompts.jsonl"
    file.write_bytes(content)

    with pytest.raises(UsageError, match=told):
        read_prompts(file)


def test_a_mark_at_the_beginning_is_no_part_of_a_prompt(tmp_path: Path) -> None:
    """
    Editors of one system begin every UTF-8 file with it.
    """
    file = tmp_path / "prompts.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"prompt": "x"}\r\n')

    (prompt,) = read_prompts(file)

    assert prompt.text == "x"


def test_every_odd_line_is_told_up_to_a_bound(tmp_path: Path) -> None:
    """
    Ten of them each with its own reason, the rest by their number.
    """
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "x"}\nnot json\n[1]\n' + "{}\n" * 10)

    with pytest.raises(UsageError) as caught:
        read_prompts(file)

    first, *lines = str(caught.value).splitlines()
    assert first == f"12 lines of {file} are no prompts:"
    assert lines[0] == f"  {file}:2 is no JSON: Expecting value at character 1. Give one object a line."
    assert [line.split()[0].rpartition(":")[2] for line in lines[:-1]] == [str(at) for at in range(2, 12)]
    assert lines[-1] == "  and 2 more"


def test_categories_and_a_limit_narrow() -> None:
    """
    Prompts of the categories named, the first so many; a category that nobody has is refused with those there are.
    """
    found = chosen(own_prompts(), categories=["writing", "code"], limit=5)

    assert [prompt.category for prompt in found] == ["writing"] * 4 + ["code"]
    with pytest.raises(UsageError, match="there are python"):
        chosen(own_prompts(), categories=["poetry"])
