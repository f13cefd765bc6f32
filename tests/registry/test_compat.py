"""One pair, or one chain, judged: what passes, what fails, and what is not known."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.compat import Side, depth_in_run, judge_chain, judge_edge, pair_of
from registry.errors import CheckpointError
from registry.facts import NOTHING_KNOWN, EdgeFacts, read_edge_facts
from registry.records import Finding, Head, Model, TokenizerFamily
from registry.tokens.vocabulary import Vocabulary

FAMILIES = {
    "qwen3": TokenizerFamily(vocab_size=151669),
    "llama": TokenizerFamily(vocab_size=32000),
    "unmeasured": TokenizerFamily(),
}
WORDS = {0: "<unk>", 1: "<s>", 2: "</s>", 3: "a", 4: "b"}
SMALL = Model(alias="small", hidden_size=1024, vocab_size=151936, tokenizer="qwen3")
LARGE = Model(alias="large", hidden_size=5120, vocab_size=151936, tokenizer="qwen3")
HEAD = Head.model_validate(
    {"source": "small", "target": "large", "run": "exp-weight6-layer3", "from": "here"}
)
FITTING = EdgeFacts(head_hidden_size=1024, head_layers=3, stored_layers=3, source_config_hidden_size=1024)


def words(extra: Mapping[int, str] | None = None, **fields: Any) -> Vocabulary:
    """A llama-like vocabulary: unknown 0, begin 1, end 2."""
    given = {"eos_id": 2, "bos_id": 1, "unk_id": 0, "end_ids": frozenset({2}), **fields}
    special = frozenset({0, 1, 2}) | given.pop("special_ids", frozenset())
    return Vocabulary(pieces={**WORDS, **(extra or {})}, special_ids=special, **given)


def model(alias: str, **fields: Any) -> Model:
    return Model(alias=alias, **fields)


def judged(check: str, source: Model = SMALL, target: Model = LARGE, facts: EdgeFacts = FITTING) -> Finding:
    findings = judge_edge(HEAD, pair_of(source, target, FAMILIES, facts))
    return next(finding for finding in findings if finding.check == check)


def status(check: str, source: Model = SMALL, target: Model = LARGE, facts: EdgeFacts = FITTING) -> str:
    return judged(check, source, target, facts).status


def by_content(source: Vocabulary, target: Vocabulary) -> Finding:
    """The tokenizer finding of two models whose catalog entries say nothing."""
    facts = EdgeFacts(source_tokenizer=source, target_tokenizer=target)
    return judged("tokenizer", model("small"), model("large"), facts)


def test_fitting_edge_passes_every_check() -> None:
    """
    A head that fits, with all its files here, passes each check under its own name.
    """
    findings = judge_edge(HEAD, pair_of(SMALL, LARGE, FAMILIES, FITTING))

    assert [finding.check for finding in findings] == ["hidden_size", "depth", "tokenizer", "vocabulary"]
    assert {finding.status for finding in findings} == {"pass"}
    assert {finding.subject for finding in findings} == {HEAD.name}


def test_nothing_on_disk_is_never_a_pass_of_the_head() -> None:
    """
    Before the head's files are here its width and depth are unknown, whatever the catalog says.
    """
    assert status("hidden_size", facts=NOTHING_KNOWN) == "unknown"
    assert status("depth", facts=NOTHING_KNOWN) == "unknown"


def test_head_of_another_width_fails() -> None:
    """
    A head for 2048 numbers does not read states of 1024, and the finding says both.
    """
    finding = judged("hidden_size", facts=replace(FITTING, head_hidden_size=2048))

    assert finding.status == "fail"
    assert "expected 1024, the hidden size of small, got 2048" in finding.detail
    assert "reversed" not in finding.detail


def test_reversed_head_gets_a_hint() -> None:
    """
    A head as wide as the target was probably trained for the other direction.
    """
    finding = judged("hidden_size", facts=replace(FITTING, head_hidden_size=5120))

    assert finding.status == "fail"
    assert "5120 is the hidden size of large: the head seems reversed" in finding.detail


def test_width_by_catalog_alone_suffices_once_the_head_is_here() -> None:
    """
    With the head's config and the catalog's figure the width is known without the source model's files.
    """
    assert status("hidden_size", facts=replace(FITTING, source_config_hidden_size=None)) == "pass"


def test_unknown_source_width_is_unknown() -> None:
    """
    A head's width that can be compared with nothing is neither right nor wrong.
    """
    facts = EdgeFacts(head_hidden_size=1024)

    assert status("hidden_size", model("small"), facts=facts) == "unknown"


def test_catalog_and_config_that_disagree_fail() -> None:
    """
    A source model whose folder contradicts the catalog is not the model the head was made for.
    """
    finding = judged("hidden_size", facts=replace(FITTING, source_config_hidden_size=2048))

    assert finding.status == "fail"
    assert "its config.json says 2048 but the catalog says 1024" in finding.detail


@pytest.mark.parametrize(
    ("layers", "stored", "run", "expected"),
    [
        (3, 3, "exp-weight6-layer3", "pass"),
        (3, 3, "latest", "pass"),
        (3, None, "exp-weight6-layer3", "unknown"),
        (None, 3, "exp-weight6-layer3", "unknown"),
        (None, None, "exp-weight6-layer3", "unknown"),
        (2, 3, "latest", "fail"),
        (2, None, "exp-weight6-layer3", "fail"),
        (None, 2, "exp-weight6-layer3", "fail"),
        (2, 2, "exp-weight6-layer3", "fail"),
        (0, 0, "latest", "pass"),
    ],
)
def test_depth_is_told_alike_by_all_who_tell_it(
    layers: int | None, stored: int | None, run: str, expected: str
) -> None:
    """
    config.json, the weights and the run's name agree, or the depth fails; without config.json or weights
    it is unknown.
    """
    head = HEAD.model_copy(update={"run": run})
    facts = replace(FITTING, head_layers=layers, stored_layers=stored)
    findings = judge_edge(head, pair_of(SMALL, LARGE, FAMILIES, facts))

    assert findings[1].status == expected


def test_depth_in_a_run_without_one() -> None:
    """
    A run's name need not state a depth.
    """
    assert depth_in_run("exp-weight-layer3") == 3
    assert depth_in_run("latest") is None


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("qwen3", "qwen3", "pass"),
        ("qwen3", "llama", "fail"),
        (None, "qwen3", "unknown"),
        ("qwen3", None, "unknown"),
        (None, None, "unknown"),
    ],
    ids=str,
)
def test_tokenizer_by_family(source: str | None, target: str | None, expected: str) -> None:
    """
    Without files the catalog's family decides; no family, no answer.
    """
    assert status("tokenizer", model("small", tokenizer=source), model("large", tokenizer=target)) == expected


def test_content_overrides_the_catalog() -> None:
    """
    Two tokenizers on disk are compared by content: another family's name does not make them differ, nor the
    same name equal.
    """
    same = replace(FITTING, source_tokenizer=words(), target_tokenizer=words())
    other = replace(FITTING, source_tokenizer=words(), target_tokenizer=words({4: "c"}))

    assert status("tokenizer", target=model("large", tokenizer="llama"), facts=same) == "pass"
    assert status("tokenizer", facts=other) == "fail"


def test_differing_text_names_the_first_id() -> None:
    """
    The finding says which id means what to whom.
    """
    finding = by_content(words(), words({4: "c", 3: "d"}))

    assert finding.status == "fail"
    assert finding.detail == "id 3 is 'a' to small and 'd' to large"


def test_different_pad_token_passes_and_says_so() -> None:
    """
    llama-68m has no pad token, TinyLlama pads with its end token, Vicuna with the unknown one: all the same.
    """
    for pad in (2, 0):
        finding = by_content(words(), words(pad_id=pad))
        assert finding.status == "pass"
        assert "same vocabulary, different pad token" in finding.detail


def test_added_pad_token_is_no_difference() -> None:
    """
    An id that only pads, added to one side or with another text on each, is left out.
    """
    padded = words({5: "[PAD]"}, pad_id=5, special_ids=frozenset({5}))
    other = words({5: "<pad>"}, pad_id=5, special_ids=frozenset({5}))

    assert by_content(words(), padded).status == "pass"
    assert by_content(padded, other).status == "pass"


def test_pad_of_one_side_is_a_piece_to_the_other() -> None:
    """
    Padding excuses no difference where the other model uses the id for text.
    """
    padded = words({5: "[PAD]"}, pad_id=5, special_ids=frozenset({5}))

    assert by_content(padded, words({5: "c"})).status == "fail"


def test_pad_token_that_ends_a_text_is_compared() -> None:
    """
    Padding excuses nothing where the same id is also the end token.
    """
    one = words({5: "<e>"}, pad_id=5, eos_id=5, end_ids=frozenset({5}))
    other = words({5: "<f>"}, pad_id=5, eos_id=5, end_ids=frozenset({5}))

    assert by_content(one, other).status == "fail"


@pytest.mark.parametrize("role", ["eos", "bos", "unk"])
def test_different_special_token_fails(role: str) -> None:
    """
    Another end, begin or unknown token is another tokenizer.
    """
    fields: dict[str, Any] = {f"{role}_id": 3}

    assert by_content(words(), replace(words(), **fields)).status == "fail"


def test_special_ids_of_one_side_only_fail() -> None:
    """
    Qwen3 has special ids that Qwen1.5 lacks: never paired, though all shared ids mean the same.
    """
    more = words({5: "<|object|>"}, special_ids=frozenset({5}))

    assert by_content(words(), more).status == "fail"
    assert by_content(more, words()).status == "fail"


def test_plain_ids_of_one_side_only_are_noted() -> None:
    """
    Further plain pieces on one side are no reason to refuse.
    """
    finding = by_content(words(), words({5: "c", 6: "d"}))

    assert finding.status == "pass"
    assert "2 plain ids in one tokenizer only" in finding.detail


def test_tokenizer_without_an_end_is_unknown() -> None:
    """
    Where one side names no end token, equal pieces are not enough for a pass.
    """
    assert by_content(words(), words(eos_id=None, end_ids=frozenset())).status == "unknown"


def test_end_token_by_generation_config_alone() -> None:
    """
    An end known only from generation_config.json has to be shared all the same.
    """
    assert by_content(words(), words(eos_id=None)).status == "pass"
    assert by_content(words(), words(eos_id=None, end_ids=frozenset({3}))).status == "fail"


def test_tokenizer_that_is_not_its_family_s_is_unknown() -> None:
    """
    One tokenizer on disk that differs from the family's recorded fingerprint withdraws the family's word.
    """
    families = {"f": TokenizerFamily(fingerprint=words().fingerprint)}
    one, other = model("small", tokenizer="f"), model("large", tokenizer="f")

    def found(source: Vocabulary) -> str:
        pair = pair_of(one, other, families, EdgeFacts(source_tokenizer=source))
        return judge_edge(HEAD, pair)[2].status

    assert found(words()) == "pass"
    assert found(words({4: "c"})) == "unknown"


@pytest.mark.parametrize(
    ("source", "target", "family", "expected"),
    [
        (151936, 151936, "qwen3", "pass"),
        (151936, 152064, "qwen3", "pass"),
        (151669, 151936, "qwen3", "pass"),
        (151646, 151936, "qwen3", "fail"),
        (151646, 151646, "qwen3", "fail"),
        (32000, 151936, "llama", "fail"),
        (32000, 151936, None, "fail"),
        (32000, 151936, "qwen3", "fail"),
        (151936, 152064, None, "unknown"),
        (151936, 152064, "unmeasured", "unknown"),
        (151936, 152065, None, "fail"),
        (32000, 32000, None, "pass"),
        (None, 151936, "qwen3", "unknown"),
        (151936, None, "qwen3", "unknown"),
    ],
    ids=str,
)
def test_rows_of_the_output_layer(
    source: int | None, target: int | None, family: str | None, expected: str
) -> None:
    """
    Equal rows pass, padding past the tokenizer passes, anything less than the tokenizer's size fails.
    """
    one, other = (
        model(name, vocab_size=rows, tokenizer=family) for name, rows in (("s", source), ("t", target))
    )

    assert status("vocabulary", one, other) == expected
    assert status("vocabulary", other, one) == expected


def test_padding_is_a_pass_with_a_note() -> None:
    """
    151936 rows against 152064 are said to be padding.
    """
    finding = judged("vocabulary", target=LARGE.model_copy(update={"vocab_size": 152064}))

    assert finding.detail == "151936 rows against 152064: padding past the tokenizer's 151669 ids"


def test_rows_in_a_folder_that_contradict_the_catalog_fail() -> None:
    """
    A model whose config.json states other rows than the catalog is another model.
    """
    finding = judged("vocabulary", facts=replace(FITTING, target_vocab_size=152064))

    assert finding.status == "fail"
    assert "large has two vocabulary sizes" in finding.detail


def test_tokenizer_on_disk_tells_its_own_size() -> None:
    """
    A tokenizer with more ids than a model has rows fails; an id that only pads is not counted.
    """
    one, other = model("small", vocab_size=5), model("large", vocab_size=5)
    more = words({5: "c"})
    padded = words({5: "[PAD]"}, pad_id=5)

    assert status("vocabulary", one, other, EdgeFacts(source_tokenizer=more)) == "fail"
    assert status("vocabulary", one, other, EdgeFacts(source_tokenizer=padded)) == "pass"


vocabularies = st.builds(
    Vocabulary,
    pieces=st.dictionaries(st.integers(0, 6), st.sampled_from("ab"), max_size=6),
    special_ids=st.frozensets(st.integers(0, 6), max_size=2),
    eos_id=st.none() | st.integers(0, 3),
    bos_id=st.none() | st.integers(0, 3),
    pad_id=st.none() | st.integers(0, 6),
    unk_id=st.none() | st.integers(0, 3),
    end_ids=st.frozensets(st.integers(0, 3), max_size=2),
)
sizes = st.none() | st.sampled_from([5, 6, 7, 32000, 32100, 151646, 151936, 152064])
models = st.builds(
    Model,
    alias=st.just("m"),
    hidden_size=st.none() | st.just(8),
    vocab_size=sizes,
    tokenizer=st.none() | st.sampled_from(["qwen3", "llama", "unmeasured", "unheard of"]),
)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(models, models, st.none() | vocabularies, st.none() | vocabularies)
def test_tokenizer_and_vocabulary_know_no_direction(
    one: Model, other: Model, first: Vocabulary | None, second: Vocabulary | None
) -> None:
    """
    Judged from either end, tokenizer and vocabulary come out alike.
    """
    there = EdgeFacts(source_tokenizer=first, target_tokenizer=second)
    back = EdgeFacts(source_tokenizer=second, target_tokenizer=first)
    for check in ("tokenizer", "vocabulary"):
        assert status(check, one, other, there) == status(check, other, one, back)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(vocabularies)
def test_tokenizer_never_fails_against_itself(vocabulary: Vocabulary) -> None:
    """
    A tokenizer fits itself; without an end token that much is not known.
    """
    assert by_content(vocabulary, vocabulary).status == ("pass" if vocabulary.end_ids else "unknown")


def chain_status(check: str, *vocabularies_: Vocabulary | None, families: str = "fff") -> str:
    sides = [
        Side(model=model(f"m{place}", tokenizer=None if family == "-" else family), vocabulary=vocabulary)
        for place, (vocabulary, family) in enumerate(zip(vocabularies_, families, strict=True))
    ]
    return next(finding.status for finding in judge_chain(sides) if finding.check == check)


def test_ends_of_a_chain() -> None:
    """
    One end token for all passes, another at any place fails, one not known leaves it unknown.
    """
    other = words(eos_id=3)

    assert chain_status("ends", words(), words(), words(), families="---") == "pass"
    assert chain_status("ends", words(), None, other) == "fail"
    assert chain_status("ends", words(), None, words()) == "pass"
    assert chain_status("ends", words(), None, words(), families="---") == "unknown"
    assert chain_status("ends", None, None, None, families="fgf") == "unknown"


def test_first_and_last_tokenizer_are_compared() -> None:
    """
    Each neighbour may agree where the ends do not: the pieces they disagree on are missing in the middle.
    """
    first, last = words({5: "c"}), words({5: "d"})

    assert chain_status("tokenizer", first, words(), last) == "fail"
    assert chain_status("tokenizer", first, words(), first) == "pass"


def test_repeated_model_fails() -> None:
    """
    A chain that meets a model again is refused even when put together by hand.
    """
    once, again = Side(model=model("a")), Side(model=model("b"))

    assert judge_chain([once, again])[-1].status == "pass"
    assert judge_chain([once, again, once])[-1].status == "fail"


def stored(folder: Path, header: object | None = None, **config: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    if header is not None:
        raw = json.dumps(header).encode()
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw)
    return folder


def test_facts_are_read_from_three_folders(tmp_path: Path) -> None:
    """
    The head's config and weights, and each model's config and tokenizer, become the facts of the edge.
    """
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = {
        "__metadata__": {"model.1.linear.weight": "model.0.linear.weight"},
        "model.0.linear.weight": entry,
    }
    source = stored(tmp_path / "source", hidden_size=1024, vocab_size=151936)
    (source / "vocab.json").write_text(json.dumps({"a": 0}), encoding="utf-8")
    facts = read_edge_facts(
        stored(tmp_path / "head", header, hidden_size=1024, num_layers=2),
        source,
        stored(tmp_path / "target", text_config={"hidden_size": 5120, "vocab_size": 152064}),
    )

    assert facts == EdgeFacts(
        head_hidden_size=1024,
        head_layers=2,
        stored_layers=2,
        source_config_hidden_size=1024,
        target_config_hidden_size=5120,
        source_vocab_size=151936,
        target_vocab_size=152064,
        source_tokenizer=Vocabulary(pieces={0: "a"}),
    )


def test_absent_folders_leave_all_unknown(tmp_path: Path) -> None:
    """
    No folder, or an empty one, states nothing.
    """
    assert read_edge_facts(None, None, None) == NOTHING_KNOWN
    assert read_edge_facts(tmp_path, tmp_path, tmp_path) == NOTHING_KNOWN


@pytest.mark.parametrize("value", [True, "1024", 1024.0, 0, -1, 2**40], ids=repr)
def test_size_that_is_no_count_is_refused(tmp_path: Path, value: object) -> None:
    """
    A width that is no positive integer is a fault of the file, by name.
    """
    with pytest.raises(CheckpointError, match=r"config\.json cannot be used: .*'hidden_size'"):
        read_edge_facts(stored(tmp_path / "head", hidden_size=value, num_layers=3), None, None)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x01", struct.pack("<Q", 2**60), struct.pack("<Q", 9) + b"{}", struct.pack("<Q", 2) + b"[]"],
    ids=["empty", "one byte", "boundless", "short", "list"],
)
def test_broken_weights_are_refused(tmp_path: Path, content: bytes) -> None:
    """
    A header that is cut, boundless or no object is a fault of the file.
    """
    folder = stored(tmp_path / "head", hidden_size=8, num_layers=3)
    (folder / "model.safetensors").write_bytes(content)

    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be used"):
        read_edge_facts(folder, None, None)


def test_changed_tokenizer_is_read_again(tmp_path: Path) -> None:
    """
    A tokenizer is read once per version: a replaced file shows at the next look.
    """
    file = tmp_path / "vocab.json"
    file.write_text('{"a": 0}', encoding="utf-8")
    before = read_edge_facts(None, tmp_path, None).source_tokenizer
    again = read_edge_facts(None, tmp_path, None).source_tokenizer
    file.write_text('{"bc": 0}', encoding="utf-8")
    os.utime(file, ns=(1, 1))
    after = read_edge_facts(None, tmp_path, None).source_tokenizer

    assert before is again
    assert after == Vocabulary(pieces={0: "bc"})
