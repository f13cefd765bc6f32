"""Whether the heads are those of their edges: heads that read as many numbers all run, and only what they say tells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from heads.doctor.answers import Answers, sureness
from heads.doctor.check import Check
from heads.doctor.files import same_model
from heads.doctor.loading import Patient, Places
from heads.doctor.readings import DRAWS, Readings
from heads.doctor.recorded import recorded_ranking
from heads.doctor.remedy import put_right
from registry.command import command
from registry.records import Calibration, Head

CHANCE: Final = 0.5
LEAST_RANKING: Final = 0.55
SHARE_OF_RECORDED: Final = 1 / 3  # of what a head's own evaluation says above chance
MOST_ERROR: Final = 0.025  # of an AUC that is judged
MOST_OFF: Final = 0.15  # of calibrated numbers, in the mean
SURE: Final = 3.0  # standard errors


def judge_heads(patient: Patient, readings: Readings) -> Iterator[Check]:
    """Each head's answers by themselves, and beside those of the other heads here that read as many numbers."""
    edges: list[_Edge] = []
    for places, reading in readings.edges.items():
        head = patient.heads.get(places)
        source = patient.names[places[0]]
        if head is None:
            continue
        answers = Answers.of(reading)
        if answers is None:
            yield Check(
                check="answers",
                subject=head.name,
                status="unknown",
                found=f"it cannot be asked about single drafted tokens: {readings.blind.get(source, source)}",
            )
        elif not answers.finite:
            yield Check(
                check="answers",
                subject=head.name,
                status="unknown",
                found=f"what {source} gives it to read is not finite",
            )
        elif answers.ranking_error(DRAWS) > MOST_ERROR:
            yield Check(
                check="answers",
                subject=head.name,
                status="unknown",
                found=f"{len(answers.kept)} drafted tokens, too few of them refused or kept to judge it by",
                next=patient.again(limit="16", max_new_tokens="128"),
            )
        else:
            edges.append(_Edge(places, head, answers))
    exchanged = {one for pair in combinations(edges, 2) if _exchanged(patient, *pair) for one in pair}
    for edge in edges:
        better = None if edge in exchanged else _better(patient, edge)
        if edge in exchanged or better is not None:
            yield _wrong(patient, edge, better, [one for one in exchanged if one is not edge])
        else:
            yield _by_itself(patient, edge)


@dataclass(frozen=True, eq=False)
class _Edge:
    """An edge whose head was asked."""

    places: Places
    head: Head
    answers: Answers

    @property
    def name(self) -> str:
        return self.head.name


def _calibration(patient: Patient, name: str) -> Calibration | None:
    loaded = {head.name: patient.loaded_head(places) for places, head in patient.heads.items()}
    loaded |= {other: module for other, (_, module) in patient.rivals.items()}
    head = loaded.get(name)
    return None if head is None else head.calibration


def _exchanged(patient: Patient, one: _Edge, other: _Edge) -> bool:
    """Whether both edges together are foreseen better by each other's head."""
    if other.name not in one.answers.logits or one.name not in other.answers.logits:
        return False
    numbers = _calibration(patient, other.name), _calibration(patient, one.name)
    advantage = one.answers.advantage(other.name, one.name, numbers)
    advantage = advantage + other.answers.advantage(one.name, other.name, numbers[::-1])
    return sureness(advantage) > SURE


def _better(patient: Patient, edge: _Edge) -> str | None:
    """A head made for another source that foresees this edge better.

    One of the same source reads the same states, and may be the better trained of the two without any fault.
    """
    sources = {head.name: head.source for head in patient.heads.values()}
    sources |= {name: head.source for name, (head, _) in patient.rivals.items()}
    found: list[tuple[float, str]] = []
    for name in edge.answers.logits:
        if name == edge.name or same_model(patient.shelf, sources[name], edge.head.source) is not False:
            continue
        numbers = _calibration(patient, name), _calibration(patient, edge.name)
        found.append((sureness(edge.answers.advantage(name, edge.name, numbers)), name))
    surest = max(found, default=(0.0, ""))
    return surest[1] if surest[0] > SURE else None


def _wrong(patient: Patient, edge: _Edge, better: str | None, exchanged: list[_Edge]) -> Check:
    others = [better] if better is not None else [one.name for one in exchanged]
    told = ", ".join(f"{name} with {edge.answers.ranking(name):.2f}" for name in others)
    return Check(
        check="answers",
        subject=edge.name,
        status="fault",
        found=f"{_found(patient, edge)}; the edge is foreseen better by {told}",
        expected="no head of another source that foresees the edge better than its own",
        cause="a wrong head in this place"
        if better is not None
        else f"swapped heads: this one and {', '.join(others)} were exchanged",
        next=put_right(patient.shelf, edge.head),
    )


def _by_itself(patient: Patient, edge: _Edge) -> Check:
    """Whether it tells anything, and whether calibrated numbers are true."""
    recorded = recorded_ranking(patient.shelf, edge.head)
    floor = LEAST_RANKING
    if recorded is not None:
        floor = min(max(floor, CHANCE + SHARE_OF_RECORDED * (recorded - CHANCE)), recorded - 0.03)
    expected = f"AUC of at least {floor:.2f}"
    expected += "" if recorded is None else f"; {recorded:.2f} is recorded"
    found, calibration = _found(patient, edge), _calibration(patient, edge.name)
    if not edge.answers.ranking(edge.name) > floor:
        return Check(
            check="answers",
            subject=edge.name,
            status="fault",
            found=found,
            expected=expected,
            cause="a wrong head: one of another edge, of another checkpoint of its source, or an untrained one",
            next=put_right(patient.shelf, edge.head),
        )
    kept = float(edge.answers.kept.mean())
    if calibration is not None and abs(edge.answers.foreseen(edge.name, calibration) - kept) > MOST_OFF:
        return Check(
            check="answers",
            subject=edge.name,
            status="warning",
            found=found,
            expected=f"{expected}; numbers near {kept:.2f} in the mean",
            cause="a calibration of another head or another edge, or texts of another kind",
            next=command("evaluate", edge.name, "--prompts", "FILE", catalogs=patient.shelf.given),
        )
    return Check(check="answers", subject=edge.name, status="ok", found=found, expected=expected)


def _found(patient: Patient, edge: _Edge) -> str:
    """AUC, and the mean of the numbers; raw ones are weighted on purpose, so that theirs tells nothing."""
    answers, calibration = edge.answers, _calibration(patient, edge.name)
    told = f"AUC {answers.ranking(edge.name):.2f} on {len(answers.kept)} drafted tokens"
    if calibration is None:
        return f"{told}, raw numbers"
    foreseen = answers.foreseen(edge.name, calibration)
    return f"{told}; it foresees {foreseen:.2f}, and {float(answers.kept.mean()):.2f} are kept"
