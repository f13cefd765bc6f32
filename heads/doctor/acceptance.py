"""How often the models of each edge agree, beside what the edge's head recorded when it was judged."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final

import torch

from heads.doctor.check import Check, Status
from heads.doctor.loading import Patient, Places
from heads.doctor.numbers import quantised
from heads.doctor.readings import Readings
from heads.doctor.remedy import put_right
from registry.command import command
from registry.planning.recorded import recorded_acceptance

LEAST: Final = 0.15
HALF: Final = 0.5  # of what is recorded
LESS: Final = 0.15  # below what is recorded: other texts do not explain that
SURE: Final = 2.0  # standard errors


def judge_acceptance(
    patient: Patient, readings: Readings, lost: Mapping[str, str], *, chat: bool
) -> Iterator[Check]:
    """One line for each edge: of drafted tokens, the share that is kept at temperature 1.

    Args:
        patient: The chain.
        readings: Its models along texts.
        lost: Models that do not foresee the text, with the cause.
        chat: Whether prompts were put into the chat template.
    """
    for places, edge in readings.edges.items():
        shares = torch.cat(edge.acceptance).double()
        mean = float(shares.mean())
        error = float(shares.std()) / math.sqrt(len(shares)) if len(shares) > 1 else LESS / SURE
        head = patient.heads.get(places)
        recorded = None if head is None else recorded_acceptance(patient.shelf, head)
        names = [patient.names[place] for place in places]
        subject = f"{names[0]} -> {names[1]}"
        found = f"{mean:.2f} of drafted tokens are kept, on {readings.tokens} tokens"
        expected = f"at least {LEAST}" if recorded is None else f"about {recorded:.2f}, as its head recorded"
        surely = mean + SURE * error
        floor = LEAST if recorded is None else max(LEAST, HALF * recorded)
        if not surely >= floor:  # no number is no acceptance
            status: Status = "fault"
        elif recorded is not None and surely < recorded - LESS:
            status = "warning"
        else:
            yield Check(check="acceptance", subject=subject, status="ok", found=found, expected=expected)
            continue
        yield Check(
            check="acceptance",
            subject=subject,
            status=status,
            found=found,
            expected=expected,
            cause=_cause(patient, places, lost, chat=chat),
            next=_next(patient, places, lost, chat=chat),
        )


def has_template(patient: Patient) -> bool:
    """Whether the target expects messages."""
    return bool(getattr(patient.tokenizer, "chat_template", None))


def low_edges(checks: list[Check]) -> bool:
    """Whether an edge keeps less than it should."""
    return any(one.check == "acceptance" and one.status in {"fault", "warning"} for one in checks)


def _cause(patient: Patient, places: Places, lost: Mapping[str, str], *, chat: bool) -> str:
    """The likeliest of what is known to lower it."""
    names = [patient.names[place] for place in places]
    for name in names:
        if name in lost:
            return f"{name}: {lost[name]}"
    rounded = [name for name in quantised(patient) if name in names]
    if rounded:
        return f"quantised weights of {', '.join(rounded)}"
    dtypes = {str(patient.cascade.models[place].dtype) for place in places}
    if len(dtypes) > 1 or "torch.float16" in dtypes:
        return "wrong dtype"
    if has_template(patient) and not chat:
        return f"prompt format: {patient.names[-1]} has a chat template, and prompts were given without it"
    return f"weights of another checkpoint than {names[0]} or {names[1]}, or texts of another kind than those recorded"


def _next(patient: Patient, places: Places, lost: Mapping[str, str], *, chat: bool) -> str:
    models = [patient.models[place] for place in places]
    for model in models:
        if model.alias in lost:
            return put_right(patient.shelf, model)
    if has_template(patient) and not chat:
        return patient.again(chat="")
    head = patient.heads.get(places)
    if head is None:
        return patient.again(prompts="FILE")
    return command("evaluate", head.name, "--prompts", "FILE", catalogs=patient.shelf.given)
