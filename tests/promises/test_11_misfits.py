"""Promise 11: what does not fit never loads, and the message names field, expected and found."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from heads import Cascade
from heads.checkpoint import load_head
from registry.catalog import parse_catalog
from registry.errors import CheckpointError, IncompatibleError, NoChainError
from registry.lock import Lock, lock_folder
from registry.pipeline import find_chain
from registry.shelf import Shelf
from tests.heads.models import random_head, tiny
from tests.registry.stored import HIDDEN, write_head

pytestmark = pytest.mark.promises

RUN = "exp-weight6-layer2"
EDGE = f"a--to--b/{RUN}"
WEIGHTS = "model.safetensors"
PIECES = {"a": 0, "b": 1, "c": 2, "d": 3, "</s>": 4}
CATALOG = """
version: 1
sources: {mine: {path: ./heads}}
tokenizers: {plain: {vocab_size: 5}, other: {vocab_size: 5}}
models:
  a: {path: ./a, hidden_size: 4, vocab_size: 8, tokenizer: plain}
  b: {path: ./b, hidden_size: 4, vocab_size: 8, tokenizer: plain}
heads: [{source: a, target: b, run: exp-weight6-layer2, from: mine}]
"""
Spoil = Callable[[Path], None]


def write_model(folder: Path) -> None:
    """A base model of two layers with a tokenizer of five pieces, as small as can be."""
    folder.mkdir()
    ones = np.ones((8, HIDDEN), np.float32)
    tensors: dict[str, Any] = {"model.embed_tokens.weight": ones, "lm_head.weight": ones.copy()}
    tensors |= {f"model.layers.{layer}.norm.weight": np.ones(HIDDEN, np.float32) for layer in (0, 1)}
    (folder / WEIGHTS).write_bytes(save(tensors, {"format": "pt"}))
    config = {"hidden_size": HIDDEN, "vocab_size": 8, "num_hidden_layers": 2}
    (folder / "config.json").write_text(json.dumps(config))
    rules = {"normalizer": None, "pre_tokenizer": {"type": "ByteLevel"}, "decoder": {"type": "ByteLevel"}}
    ends = [{"id": 4, "content": "</s>", "special": True}]
    tokenizer = {**rules, "added_tokens": ends, "model": {"type": "BPE", "vocab": PIECES, "merges": []}}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')


@pytest.fixture(scope="module")
def refused() -> set[str]:
    """Names of the misfits that were refused so far."""
    return set()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A head, and the two models it joins, all of which fit."""
    write_head(tmp_path / "heads" / EDGE)
    for alias in ("a", "b"):
        write_model(tmp_path / alias)
    return tmp_path


def shelf_of(home: Path, *, catalog: str = CATALOG) -> Shelf:
    """What lies there, on record as it is: no digest tells what does not fit, only the content does."""
    lock = Lock(
        heads={EDGE: lock_folder(home / "heads" / EDGE)},
        models={alias: lock_folder(home / alias) for alias in ("a", "b")},
    )
    return Shelf(parse_catalog(catalog, file="catalog.yaml", base=home), lock)


def verified(shelf: Shelf) -> list[str]:
    """The faults that verifying finds, in the head and in either model."""
    models = [shelf.verify_model(model) for model in shelf.catalog.models.values()]
    return [
        fault for report in (shelf.verify_head(shelf.catalog.heads[0]), *models) for fault in report.faults
    ]


def chained(shelf: Shelf) -> list[str]:
    """Why no chain is made."""
    try:
        find_chain(shelf, "a", "b")
    except NoChainError as error:
        refusals: Any = error.refusals
        return [f"{one.check}: {one.detail}" for refusal in refusals for one in refusal.findings]
    except CheckpointError as error:
        return [str(error)]
    return []


def loaded(home: Path) -> list[str]:
    """Why the head's own bytes are refused."""
    folder = home / "heads" / EDGE
    try:
        load_head((folder / "config.json").read_bytes(), (folder / WEIGHTS).read_bytes())
    except CheckpointError as error:
        return list(error.problems)
    return []


def in_config(part: str, **changes: Any) -> Spoil:
    """A config.json that says something else."""

    def spoil(home: Path) -> None:
        path = home / part / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return spoil


def in_weights(part: str, name: str, change: Callable[[Any], Any], *, to: str | None = None) -> Spoil:
    """Weights with one tensor changed, renamed to `to`, or gone where the change gives None."""

    def spoil(home: Path) -> None:
        path = home / part / WEIGHTS
        tensors = load(path.read_bytes())
        changed = change(tensors.pop(name))
        tensors |= {} if changed is None else {to or name: changed}
        path.write_bytes(save(tensors, {"format": "pt"}))

    return spoil


def in_tokenizer(part: str, **changes: Any) -> Spoil:
    """A tokenizer.json of which one part is another."""

    def spoil(home: Path) -> None:
        path = home / part / "tokenizer.json"
        document = json.loads(path.read_text())
        for key, value in changes.items():
            document["model" if key == "vocab" else key] = (
                {**document["model"], "vocab": value} if key == "vocab" else value
            )
        path.write_text(json.dumps(document))

    return spoil


def another_end(home: Path) -> None:
    """The target ends its texts with a plain piece."""
    (home / "b" / "tokenizer_config.json").write_text('{"eos_token": "d"}')


HEAD = f"heads/{EDGE}"
BLOCK = "model.1.linear.weight"
EMBEDDING = "model.embed_tokens.weight"
OUTPUT = "lm_head.weight"
SWAPPED = {**PIECES, "a": 1, "b": 0}
V, C, L = "verify", "chain", "load"
# What is changed -> where it is refused, and what each message has to hold: field, expected, found.
MISFITS: dict[str, tuple[Spoil, str, tuple[str, ...]]] = {
    "hidden size: the head's config": (in_config(HEAD, hidden_size=6), f"{V} {C} {L}", ("6", "4")),
    "hidden size: one of the head's tensors": (
        in_weights(HEAD, BLOCK, lambda t: np.pad(t, ((0, 0), (0, 2)))), f"{V} {L}", (BLOCK, "[4, 4]", "[4, 6]"),
    ),
    "hidden size: the source's config": (in_config("a", hidden_size=6), f"{V} {C}", ("hidden", "6", "4")),
    "hidden size: the target's config": (in_config("b", hidden_size=6), V, ("hidden_size", "4", "6")),
    "hidden size: the source's embedding": (
        in_weights("a", EMBEDDING, lambda t: t[:, :3].copy()), V, (EMBEDDING, "[8, 4]", "[8, 3]"),
    ),
    "hidden size: the target's output layer": (
        in_weights("b", OUTPUT, lambda t: t[:, :3].copy()), V, (OUTPUT, "[8, 4]", "[8, 3]"),
    ),
    "depth: the head's config": (in_config(HEAD, num_layers=3), f"{V} {C} {L}", ("blocks", "3", "2")),
    "depth: a block more": (in_config(HEAD, num_layers=1), f"{V} {C} {L}", ("blocks", "1", "2")),
    "depth: a block is gone": (
        in_weights(HEAD, BLOCK, lambda _: None), f"{V} {C} {L}", ("residual blocks", "2", "1"),
    ),
    "depth: the source's config": (in_config("a", num_hidden_layers=3), V, ("layers", "3", "2")),
    "depth: a layer of the target is gone": (
        in_weights("b", "model.layers.0.norm.weight", lambda _: None), V, ("layers", "2", "1"),
    ),
    "depth: a layer too many": (
        in_weights("b", "model.layers.1.norm.weight", lambda t: t, to="model.layers.2.norm.weight"), V,
        ("layers", "layer 1 is missing"),
    ),
    "tokenizer: two pieces exchanged": (in_tokenizer("b", vocab=SWAPPED), f"{V} {C}", ("id 0", "'a'", "'b'")),
    "tokenizer: another end token": (another_end, f"{V} {C}", ("end token", "4", "3")),
    "tokenizer: not readable": (in_tokenizer("b", vocab=7), f"{V} {C}", ("tokenizer.json", "vocab", "7")),
    "vocabulary: the source's config": (in_config("a", vocab_size=9), f"{V} {C}", ("vocab", "9", "8")),
    "vocabulary: the target's config": (in_config("b", vocab_size=4), f"{V} {C}", ("vocab", "4", "8")),
    "vocabulary: rows of the embedding": (
        in_weights("a", EMBEDDING, lambda t: t[:7].copy()), V, (EMBEDDING, "[8, 4]", "[7, 4]"),
    ),
    "dtype: one tensor in half precision": (
        in_weights(HEAD, BLOCK, lambda t: t.astype("f2")), f"{V} {L}", ("dtype", "F16", "F32"),
    ),
    "dtype: one tensor in double precision": (
        in_weights(HEAD, "model.2.bias", lambda t: t.astype("f8")), f"{V} {L}", ("dtype", "F64", "F32"),
    ),
    "dtype: one tensor of integers": (
        in_weights(HEAD, "model.2.bias", lambda t: t.astype("i4")), f"{V} {L}", ("dtype", "I32", "F32"),
    ),
}  # fmt: skip


def test_what_fits_is_refused_nowhere(home: Path) -> None:
    """
    Before anything is changed, all three agree.
    """
    shelf = shelf_of(home)

    assert verified(shelf) == []
    assert chained(shelf) == []
    assert loaded(home) == []


@pytest.mark.parametrize(("spoil", "where", "said"), MISFITS.values(), ids=MISFITS.keys())
def test_a_misfit_is_refused_by_name(
    home: Path,
    spoil: Spoil,
    where: str,
    said: tuple[str, ...],
    refused: set[str],
    request: pytest.FixtureRequest,
) -> None:
    """
    One field changed is refused wherever it can be seen, and each message tells it, though all digests match.
    """
    spoil(home)
    shelf = shelf_of(home)
    found = {V: verified(shelf), C: chained(shelf), L: loaded(home)}

    assert {place for place, faults in found.items() if faults} == set(where.split())
    for place in where.split():
        assert any(all(part in fault for part in said) for fault in found[place]), (place, found[place])
    refused.add(request.node.callspec.id)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("b: {path: ./b, hidden_size: 4, vocab_size: 8, tokenizer: plain}", "tokenizer: other"), "'other'"),
        (("b: {path: ./b, hidden_size: 4, vocab_size: 8, tokenizer: plain}", "vocab_size: 80"), "80"),
    ],
    ids=["tokenizer", "vocabulary"],
)
def test_families_that_differ_are_refused_unseen(home: Path, change: tuple[str, str], said: str) -> None:
    """
    Where no model is on this machine, what the catalog says of them is enough to refuse.
    """
    line, new = change
    key = new.partition(":")[0]
    parts = [new if part.startswith(key) else part for part in line.partition("{")[2].rstrip("}").split(", ")]
    text = CATALOG.replace(line, "b: {" + ", ".join(parts) + "}")
    shelf = shelf_of(home, catalog=text)
    for alias in ("a", "b"):
        shutil.rmtree(home / alias)

    assert any(said in fault for fault in chained(shelf))
    assert any(said in fault for fault in shelf.verify_head(shelf.catalog.heads[0]).faults)


@pytest.mark.parametrize(
    ("width", "rows", "count", "field", "expected", "found"),
    [
        (8, 61, 1, "hidden_size", 16, 8),
        (16, 61, 2, "number of heads", 1, 2),
        (16, 900, 1, "vocabulary", 900, 61),
    ],
    ids=["hidden_size", "number of heads", "vocabulary"],
)
def test_ready_models_are_held_to_each_other(
    width: int, rows: int, count: int, field: str, expected: int, found: int
) -> None:
    """
    A cascade of ready models refuses a head of another width, a head too many, and another vocabulary.
    """
    models = [tiny(), tiny(seed=1, vocab_size=rows)]

    with pytest.raises(IncompatibleError) as caught:
        Cascade(models=models, heads=[random_head(width)] * count)

    assert caught.value.field == field
    assert str(expected) in str(caught.value)
    assert str(found) in str(caught.value)


def test_every_misfit_was_refused(refused: set[str], figure: Callable[[int, str], None]) -> None:
    """
    Of those that were tried above none is left out of the count.
    """
    if not refused:
        pytest.skip("none was tried")

    figure(11, f"{len(refused)} of {len(MISFITS)} single-field misfits refused by field, expected and found")
