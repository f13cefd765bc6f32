"""The program that makes the family, at a size a test can afford."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import heads.pico.make as making
import registry
from heads.pico.cataloguing import write_catalog
from heads.pico.corpus import Corpus, read_corpus
from heads.pico.fitting import Schedule
from heads.pico.make import Family
from heads.pico.recipe import Lesson, Recipe, Stage
from heads.pico.tokens import Windows, encode, held_out_windows, train_tokenizer
from tests.conftest import Outcome

LESSON = Lesson(windows=32, epochs=2.0)
SMALL = replace(
    Recipe(),
    width=32,
    inner=64,
    attention_heads=1,
    positions=128,
    length=64,
    stages=(
        Stage(layers=2, library_share=0.5, schedule=Schedule(minutes=0.004, rate=1e-2)),
        Stage(layers=4, library_share=0.5, schedule=Schedule(minutes=0.004, rate=1e-2)),
    ),
    draft_layers=(0, 3),
    draft=Schedule(minutes=0.004, rate=1e-2),
    little_layers=(0,),
    little=Schedule(minutes=0.004, rate=1e-2),
    label_length=32,
    little_to_draft=LESSON,
    draft_to_target=LESSON,
    little_to_target=LESSON,
    judge_windows=4,
    prompt_tokens=16,
    new_tokens=16,
    samples=32,
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """A library of small files, tests and a package that copies one held-out file."""
    root = tmp_path_factory.mktemp("library")
    for number in range(60):
        body = "".join(f"    value_{number} = {number} + {line}\n" for line in range(30))
        (root / f"module_{number}.py").write_text(
            f"def function_{number}():\n{body}    return value_{number}\n"
        )
    held_out = read_corpus(root, root / "none").held_out
    package = root / "packages" / "click"
    package.mkdir(parents=True)
    (package / "copy.py").write_text(held_out[0])
    own = "".join(f"own_{line} = {line} * {line}  # nobody else's\n" for line in range(40))
    (package / "own.py").write_text(own)
    return read_corpus(root, root / "packages")


def test_held_out_files_are_in_no_other_part(corpus: Corpus) -> None:
    """
    One in twelve or so is held out, and a package's copy of it is left out of training.
    """
    assert 1 <= len(corpus.held_out) <= 15
    assert not set(corpus.held_out) & {*corpus.library, *corpus.others}
    assert any("nobody else's" in text for text in corpus.others)


def test_windows_show_everything_once_before_anything_twice(tmp_path: Path, corpus: Corpus) -> None:
    """
    Of a row of 10 windows the first nine or ten draws are all different.
    """
    tokenizer = train_tokenizer(corpus.library, tmp_path)
    row = encode(corpus.library, tokenizer)[: 10 * 64 + 1]
    windows = Windows(row, row, length=64, seed=0)

    drawn = [tuple(windows.batch(1, library_share=1.0)[0].tolist()) for _ in range(9)]

    assert len(set(drawn)) == 9
    assert len(list(held_out_windows(row, length=64, limit=4))) == 4


def test_makes_a_family_and_takes_up_where_it_was_stopped(
    tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    All six parts are there, recorded and judged; a second run trains nothing again.
    """
    monkeypatch.setattr(making, "read_corpus", lambda: corpus)
    out = tmp_path / "out"
    Family(tmp_path / "work", SMALL).make(out)

    assert {folder.name for folder in out.iterdir()} == {
        *SMALL.models,
        *(f"{a}--to--{b}" for a, b in SMALL.edges),
    }
    weights = {path: path.read_bytes() for path in out.rglob("*.safetensors")}
    assert len(weights) == 6
    for name in SMALL.models:
        assert json.loads((out / name / "evaluation.json").read_text())["held_out_nats_per_byte"] > 0

    def never(*_: object) -> None:
        raise AssertionError("nothing is left to train")

    monkeypatch.setattr(Family, "target", never)
    monkeypatch.setattr(Family, "draft", never)
    monkeypatch.setattr(making, "train_head", never)
    Family(tmp_path / "work", SMALL).make(out)
    assert {path: path.read_bytes() for path in out.rglob("*.safetensors")} == weights


def test_another_familys_catalog_loads_and_is_locked(
    tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch, specreg: Callable[..., Outcome]
) -> None:
    """
    A family of another size has names of its own, and a catalog in its folder whose chain resolves once it is locked.
    """
    monkeypatch.setattr(making, "read_corpus", lambda: corpus)
    recipe = replace(SMALL, family="nano", stages=SMALL.stages[:1], draft_layers=(0, 1))
    out = tmp_path / "out"
    Family(tmp_path / "work", recipe).make(out)

    catalog = write_catalog(recipe, out)

    assert specreg("lock", str(catalog)).code == 0
    pipeline = registry.resolve_pipeline("nano-little", "nano-target", catalog=catalog)
    assert pipeline.models == ("nano-little", "nano-draft", "nano-target")
    assert pipeline.verify(models=True).ok
