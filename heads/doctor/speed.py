"""How fast the chain decoded, beside the target alone and beside what was foreseen for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from heads.doctor.check import Check
from heads.doctor.decoding import Decoded
from heads.doctor.loading import Patient
from heads.measuring.setting import setup_of
from heads.settings import MAX_DRAFT, MIN_DRAFT, THRESHOLD
from registry.command import command
from registry.errors import StoreError
from registry.planning.estimate import Estimator
from registry.planning.known import known_of
from registry.planning.law import Law
from registry.planning.lengths import DraftLengths
from registry.planning.measured import Measured
from registry.store.measured import read_measurements

GREEDY: Final = Law()
SLOWER: Final = 0.7  # of what was foreseen
NO_GAIN: Final = 0.95  # of plain decoding: less is more than a moment's noise


def measured_here(patient: Patient) -> Measured | str:
    """What the store tells of this very setup, or why it cannot be asked."""
    try:
        found = read_measurements()
    except StoreError as error:
        return str(error)
    return known_of(patient.shelf, setup_of(patient.cascade), found)


def lengths_for(patient: Patient, measured: Measured | str) -> DraftLengths:
    """Those that were tuned for this chain, else the default ones."""
    edges = len(patient.names) - 1
    if isinstance(measured, Measured):
        tuned = measured.lengths(patient.names, _heads(patient), GREEDY)
        if tuned is not None:
            return tuned
    return DraftLengths(
        min_draft=(MIN_DRAFT,) * edges, max_draft=(MAX_DRAFT,) * edges, threshold=(THRESHOLD,) * edges
    )


def slow(checks: Sequence[Check]) -> bool:
    """Whether something was slower than it should be: another run tells whether the machine was only busy."""
    return any(one.check in {"speed", "prediction"} and one.status == "warning" for one in checks)


def judge_speed(
    patient: Patient,
    decoded: Sequence[Decoded],
    measured: Measured | str,
    lengths: DraftLengths,
    *,
    low: bool,
) -> Iterator[Check]:
    """Tokens per second of the chain, all texts together.

    Args:
        patient: The chain.
        decoded: Its texts.
        measured: What the store tells, or why it tells nothing.
        lengths: By which it drafted.
        low: Whether an edge keeps less than it should.
    """
    subject, target = " -> ".join(patient.names), patient.names[-1]
    chain = _rate([(one.chain.new_tokens, one.chain.seconds) for one in decoded])
    plain = _rate([(one.plain.new_tokens, one.plain.seconds) for one in decoded])
    found = f"{chain:.1f} tokens/s, {chain / plain:.2f} times {target} alone{patient.bare}"
    if chain >= NO_GAIN * plain:
        yield Check(check="speed", subject=subject, status="ok", found=found)
    else:
        yield Check(
            check="speed",
            subject=subject,
            status="warning",
            found=found,
            expected=f"at least the {plain:.1f} of {target} alone",
            cause="too few drafts are kept: see acceptance"
            if low
            else "drafts that are too long for this machine, or models too near in size",
            next=command("plan", target, catalogs=patient.shelf.given),
        )
    yield _foreseen(patient, subject, chain, measured, lengths)


def _foreseen(
    patient: Patient, subject: str, rate: float, measured: Measured | str, lengths: DraftLengths
) -> Check:
    if isinstance(measured, str):
        return Check(check="prediction", subject=subject, status="unknown", found=measured)
    estimator = Estimator(patient.shelf.catalog.models, measured, GREEDY)
    played = estimator.played(patient.names, _heads(patient), lengths)
    if played is None:
        return Check(
            check="prediction",
            subject=subject,
            status="unknown",
            found="nothing was measured of this chain in this setup, so no speed can be predicted",
            next=patient.measuring,
        )
    predicted = 1 / played.seconds_per_token
    found = f"{rate:.1f} tokens/s, {predicted:.1f} predicted{patient.bare}"
    if rate >= SLOWER * predicted:
        return Check(check="prediction", subject=subject, status="ok", found=found)
    return Check(
        check="prediction",
        subject=subject,
        status="warning",
        found=found,
        expected=f"at least {SLOWER * predicted:.1f}",
        cause="a busy machine, other texts, or another state of it than when it was measured",
        next=patient.measuring,
    )


def _heads(patient: Patient) -> list[str]:
    edges = zip(range(len(patient.names) - 1), range(1, len(patient.names)), strict=True)
    return [patient.heads[places].name if places in patient.heads else "" for places in edges]


def _rate(runs: Sequence[tuple[int, float]]) -> float:
    seconds = sum(time for _, time in runs)
    return sum(tokens for tokens, _ in runs) / seconds if seconds > 0 else 0.0
