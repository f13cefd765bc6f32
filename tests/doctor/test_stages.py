"""What single steps of an examination say of what is off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import torch

from heads.doctor.acceptance import judge_acceptance
from heads.doctor.check import Check
from heads.doctor.decoding import Decoded, judge_decoding
from heads.doctor.heads import judge_heads
from heads.doctor.loading import Patient
from heads.doctor.numbers import judge_numbers
from heads.doctor.readings import EdgeReading, Readings
from heads.doctor.speed import judge_speed, lengths_for
from heads.measuring.setting import setup_of
from registry.planning.fingerprint import fingerprint
from registry.planning.known import known_of
from registry.planning.law import Law
from registry.planning.measured import Measured, edge_subject, target_subject, trace_subject
from registry.planning.measurement import Kind, Measurement
from registry.planning.timing import EdgeTimes, ForwardTime, ForwardTimes
from registry.planning.trace import EdgeTrace, TextTrace
from registry.records import Record
from tests.doctor.conftest import loaded
from tests.doctor.ward import DRAFT_TARGET


def off(checks: Sequence[Check]) -> list[tuple[str, str, str]]:
    return [(one.check, one.subject, one.status) for one in checks if one.status != "ok"]


def decoding(patient: Patient, decoded: Sequence[Decoded], *, chat: bool = False) -> list[Check]:
    return list(judge_decoding(patient, decoded, chat=chat, low=False))


def test_float16_of_bfloat16_is_a_warning() -> None:
    """
    What bfloat16 holds may be too large for float16, and the two are told apart by config.json.
    """
    found = off(list(judge_numbers(loaded("float16"))))

    assert found == [("dtype", "pico-draft", "warning"), ("dtype", "pico-target", "warning")]


def test_a_quantised_target_and_two_dtypes_are_warnings(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Heads were trained beside the weights as published, and models of one dtype agree best.
    """
    draft, target = patient.cascade.models
    monkeypatch.setattr(target.config, "quantization_config", {"quant_method": "gptq"}, raising=False)
    draft.to(torch.bfloat16)  # type: ignore[arg-type]
    try:
        found = list(judge_numbers(patient))
    finally:
        draft.to(torch.float32)  # type: ignore[arg-type]

    assert off(found) == [
        ("quantised", "pico-target", "warning"),
        ("dtype", "pico-draft -> pico-target", "warning"),
    ]
    assert "gptq" in next(one.found for one in found if one.check == "quantised")


def test_numbers_that_are_none_are_a_fault(patient: Patient) -> None:
    """
    A weight that is not finite is named.
    """
    weight = next(patient.cascade.models[0].parameters())
    kept = weight[0, 0].item()
    weight.data[0, 0] = torch.nan
    try:
        found = off(list(judge_numbers(patient)))
    finally:
        weight.data[0, 0] = kept

    assert found == [("finite", "pico-draft", "fault")]


@pytest.mark.parametrize(
    ("share", "status"), [(0.79, "ok"), (0.6, "warning"), (0.38, "fault"), (0.1, "fault")]
)
def test_acceptance_is_judged_by_what_the_head_recorded(patient: Patient, share: float, status: str) -> None:
    """
    0.82 is recorded: other texts explain a little less, hardly 0.15, and never less than half.
    """
    edge = EdgeReading(acceptance=[torch.full((8,), share)])
    readings = Readings(texts=8, tokens=512, models={}, edges={(0, 1): edge}, blind={})

    found = list(judge_acceptance(patient, readings, {}, chat=False))

    assert [one.status for one in found] == [status]
    assert "0.82" in str(found[0].expected)


def test_acceptance_that_is_no_number_is_a_fault(patient: Patient) -> None:
    """
    Rows that overflowed agree with nothing.
    """
    edge = EdgeReading(acceptance=[torch.full((8,), torch.nan)])
    readings = Readings(texts=8, tokens=512, models={}, edges={(0, 1): edge}, blind={})

    assert off(list(judge_acceptance(patient, readings, {}, chat=False))) == [
        ("acceptance", "pico-draft -> pico-target", "fault")
    ]


def test_heads_are_not_judged_by_states_that_are_no_numbers(patient: Patient) -> None:
    """
    Where a source overflows, its head is not to blame.
    """
    edge = EdgeReading(
        acceptance=[torch.full((8,), torch.nan)],
        kept=[torch.full((2048,), 0.5)],
        text=[torch.arange(8).repeat_interleave(256)],
        logits={DRAFT_TARGET: [torch.full((2048,), torch.nan)]},
    )
    readings = Readings(texts=8, tokens=2048, models={}, edges={(0, 1): edge}, blind={})

    assert off(list(judge_heads(patient, readings))) == [("answers", DRAFT_TARGET, "unknown")]


def test_low_acceptance_without_the_chat_template_is_laid_to_the_prompts(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Where the target expects messages and was given text, that is the likely cause, and --chat the next step.
    """
    monkeypatch.setattr(patient.tokenizer, "chat_template", "{{ messages }}")
    edge = EdgeReading(acceptance=[torch.full((8,), 0.3)])
    readings = Readings(texts=8, tokens=512, models={}, edges={(0, 1): edge}, blind={})

    (found,) = judge_acceptance(patient, readings, {}, chat=False)

    assert "prompt format" in str(found.cause)
    assert str(found.next).endswith("--chat")


def test_a_text_that_parts_from_plain_decoding_is_a_fault(patient: Patient, decoded: list[Decoded]) -> None:
    """
    In float32 greedy text is that of the target, token for token.
    """
    one = decoded[0]
    other = [*one.plain.token_ids[:5], (one.plain.token_ids[5] + 1) % 2048]
    parted = replace(one, chain=replace(one.chain, token_ids=other))

    found = decoding(patient, [parted])

    assert off(found) == [("text", "pico-draft -> pico-target", "fault")]
    assert "at token 6" in found[0].found
    assert off(decoding(patient, decoded)) == []


def test_texts_that_end_at_once_or_never_vary_are_a_warning(patient: Patient, decoded: list[Decoded]) -> None:
    """
    The target was asked in a way that it was not made for.
    """
    one = decoded[0]
    for plain in (
        replace(one.plain, token_ids=[0], finish_reason="eos"),
        replace(one.plain, token_ids=[7] * 24),
    ):
        found = decoding(patient, [replace(one, plain=plain, chain=plain)])
        assert off(found) == [("prompts", "pico-target", "warning")]


def test_no_gain_is_a_warning_that_names_a_plan(patient: Patient, decoded: list[Decoded]) -> None:
    """
    A chain that is slower than its target alone had better be another.
    """
    one = decoded[0]
    slow = replace(one, chain=replace(one.chain, seconds=3 * one.plain.seconds))
    lengths = lengths_for(patient, "")

    found = list(judge_speed(patient, [slow], "nothing is known", lengths, low=False))

    assert [one.status for one in found] == ["warning", "unknown"]
    assert found[0].next == "specreg plan pico-target"


def measured(patient: Patient, forward_s: float) -> Measured:
    """A store in which both models' forwards take so long, and the draft is always right."""
    draft, target = patient.names
    subjects: list[tuple[Kind, str, str, Record, list[str], list[str]]] = []
    for name, subject in ((draft, draft), (target, target_subject(target))):
        times = tuple(ForwardTime(query=query, cached=128, seconds=forward_s) for query in (1, 32))
        record = ForwardTimes(model=name, times=times, outside={"greedy": 0.0, "sampled": 0.0})
        subjects.append(("forwards", subject, "", record, [name], []))
    rounds = EdgeTimes(source=draft, target=target, verify={"greedy": 0.0, "sampled": 0.0})
    subjects.append(("rounds", edge_subject(draft, target), "", rounds, [draft, target], []))
    text = TextTrace(
        prompt_tokens=4, kept=(1.0,) * 64, foreseen_kept=(1.0,) * 64, foreseen_refused=(1.0,) * 64
    )
    trace = EdgeTrace(
        source=draft,
        target=target,
        text_of=target,
        texts_key="0",
        head_name=DRAFT_TARGET,
        acceptance=1.0,
        texts=(text,),
    )
    subject = trace_subject(draft, target, target)
    subjects.append(("trace", subject, Law().key, trace, [draft, target], [DRAFT_TARGET]))
    setup = setup_of(patient.cascade)
    found = [
        Measurement(
            kind=kind,
            subject=subject,
            setup=setup,
            law=law,
            fingerprint=fingerprint(patient.shelf, models, heads),
            measured_at=datetime(2026, 1, 31, tzinfo=UTC),
            document=record.model_dump(mode="json"),
            provenance={},
        )
        for kind, subject, law, record, models, heads in subjects
    ]
    return known_of(patient.shelf, setup, found)


@pytest.mark.parametrize(("forward_s", "status"), [(1e-5, "warning"), (1.0, "ok")])
def test_speed_is_held_against_what_was_measured_here(
    patient: Patient, decoded: list[Decoded], forward_s: float, status: str
) -> None:
    """
    A chain that is much slower than its own measurements foresee is told, one that is faster is not.
    """
    known, lengths = measured(patient, forward_s), lengths_for(patient, "")

    found = list(judge_speed(patient, decoded, known, lengths, low=False))

    assert [one.status for one in found if one.check == "prediction"] == [status]
