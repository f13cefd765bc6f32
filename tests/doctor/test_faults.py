"""Faults planted in the embedded family and recorded with it, so that no digest tells: each is found and named."""

from __future__ import annotations

from pathlib import Path

import pytest

from heads.bench.prompts import own_prompts
from heads.doctor.check import Check, Examination
from heads.doctor.examine import examine
from heads.doctor.fit import chosen_chain
from registry.shelf import Shelf
from tests.doctor.ward import DRAFT_TARGET, LITTLE_DRAFT, LITTLE_TARGET, Ward

PROMPTS = own_prompts()
SOME, ENOUGH = 128, 1024  # tokens for models to be judged by, and for heads
NOISY = {"speed", "prediction"}  # what other programs on the machine have a part in


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    return Ward(tmp_path / "ward")


def examined(
    shelf: Shelf, *, source: str = "pico-draft", length: int = 2, tokens: int = SOME, dtype: str = "float32"
) -> Examination:
    return examine(
        shelf,
        source,
        "pico-target",
        length=length,
        prompts=PROMPTS[:1],
        max_new_tokens=16 if tokens == SOME else 32,
        tokens=tokens,
        device="cpu",
        dtype=dtype,
    )


def faults(found: Examination) -> dict[tuple[str, str], Check]:
    return {(one.check, one.subject): one for one in found.of("fault")}


def test_a_sound_chain_gives_no_fault_and_no_warning() -> None:
    """
    Nothing is said against the family as it is shipped, but that no speed was foreseen for it.
    """
    found = examined(Shelf.open(), source="pico-little", length=3, tokens=ENOUGH)

    assert [one for one in found.checks if one.status != "ok" and one.check not in NOISY] == []
    assert [one.status for one in found.checks if one.check == "prediction"] == ["unknown"]
    assert found.ok


def test_rounding_of_bfloat16_is_no_fault() -> None:
    """
    In half precision a sound chain is silent too.
    """
    found = examined(Shelf.open(), dtype="bfloat16")

    assert [one for one in found.of("fault", "warning") if one.check not in NOISY] == []


def test_swapped_heads_are_told_by_what_they_say(ward: Ward) -> None:
    """
    Both heads read 192 numbers and both rank well: each foresees the other's edge better than its own.
    """
    ward.exchange(LITTLE_DRAFT, DRAFT_TARGET)

    found = faults(examined(ward.shelf(), source="pico-little", length=3, tokens=ENOUGH))

    assert set(found) == {("answers", LITTLE_DRAFT), ("answers", DRAFT_TARGET)}
    for one in found.values():
        assert one.cause is not None
        assert "swapped heads" in one.cause


def test_an_untrained_head_is_a_wrong_head(ward: Ward) -> None:
    """
    A head whose answers rank no better than chance cannot be that of the edge.
    """
    ward.untrained_head(DRAFT_TARGET)

    found = faults(examined(ward.shelf(), tokens=ENOUGH))

    assert set(found) == {("answers", DRAFT_TARGET)}
    assert "a wrong head" in str(found["answers", DRAFT_TARGET].cause)


def test_a_head_copied_from_another_edge_is_a_wrong_head(ward: Ward) -> None:
    """
    The record knows the same weights under the name of an edge between other models.
    """
    (ward.root / DRAFT_TARGET / "model.safetensors").write_bytes(
        (ward.root / LITTLE_TARGET / "model.safetensors").read_bytes()
    )

    found = faults(examined(ward.shelf()))

    assert set(found) == {("copy", DRAFT_TARGET)}
    assert LITTLE_TARGET in found["copy", DRAFT_TARGET].found


def test_a_model_of_another_tokenizer_is_told_as_such(ward: Ward) -> None:
    """
    Its files show that ids mean something else, and what it makes of the text is laid to that, not to its weights.
    """
    ward.another_tokenizer("pico-draft")

    found = faults(examined(ward.shelf()))

    assert ("tokenizer", DRAFT_TARGET) in found
    for check in (("language", "pico-draft"), ("acceptance", "pico-draft -> pico-target")):
        assert "a foreign tokenizer" in str(found[check].cause)


@pytest.mark.parametrize("model", ["pico-draft", "pico-target"])
def test_padding_rows_that_are_sampled_are_a_fault(ward: Ward, model: str) -> None:
    """
    Rows without a token have some of the probability, at whatever level; nothing else is wrong.
    """
    ward.padding_rows(model)

    found = faults(examined(ward.shelf()))

    assert set(found) == {("padding rows", model)}
    assert "untrained padding rows" in str(found["padding rows", model].cause)


def test_corrupt_draft_weights_are_told_by_the_text(ward: Ward) -> None:
    """
    A draft that foresees nothing of the target's text, with the target's own tokenizer, has corrupt weights.
    """
    ward.corrupt("pico-draft")

    found = faults(examined(ward.shelf()))

    for check in (("language", "pico-draft"), ("acceptance", "pico-draft -> pico-target")):
        assert "corrupt or untrained weights" in str(found[check].cause)


def test_a_head_of_another_width_is_told_and_the_rest_looked_at(ward: Ward) -> None:
    """
    The chain is refused, and still loaded and decoded, without that head.
    """
    ward.untrained_head(LITTLE_DRAFT, width=128)

    whole = examined(ward.shelf(), source="pico-little", length=3)

    assert set(faults(whole)) == {("hidden_size", LITTLE_DRAFT)}
    assert {one.subject for one in whole.checks if one.check == "answers"} == {DRAFT_TARGET}
    assert [one.status for one in whole.checks if one.check == "text"] == ["ok"]


def test_a_longer_chain_that_is_passed_over_is_a_fault(ward: Ward) -> None:
    """
    Decoding would take two models in silence, because a head of three does not fit.
    """
    ward.untrained_head(LITTLE_DRAFT, width=128)

    chain, found = chosen_chain(ward.shelf(), "pico-little", "pico-target", length=None, via=(), run=None)

    assert chain.names == ("pico-little", "pico-target")
    assert [(one.check, one.subject) for one in found if one.status == "fault"] == [
        ("hidden_size", LITTLE_DRAFT)
    ]


def test_several_faults_are_all_told(ward: Ward) -> None:
    """
    A file that changed after it was recorded and a wrong head are two lines of one examination.
    """
    ward.untrained_head(LITTLE_DRAFT, width=128)
    shelf = ward.shelf()
    (ward.root / DRAFT_TARGET / "config.json").write_text('{"hidden_size": 192, "num_layers": 3}')
    (ward.root / "pico-target" / "model.safetensors").unlink()

    found = examined(shelf, source="pico-little", length=3)

    assert {one.subject for one in found.of("fault")} == {LITTLE_DRAFT, DRAFT_TARGET, "pico-target"}
    assert found.device is None
