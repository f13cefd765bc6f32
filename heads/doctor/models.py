"""What each model makes of the target's text: sound weights foresee it, and leave rows without a token alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import torch

from heads.doctor.check import Check
from heads.doctor.loading import Patient
from heads.doctor.readings import Reading, Readings
from heads.doctor.remedy import put_right
from registry.facts import read_edge_facts
from registry.records import Model
from registry.tokens.sameness import same_content

CLUELESS: Final = 0.9  # of the nats of a uniform guess
WORSE: Final = 0.5  # nats more than a smaller model
NEVER: Final = 0.02  # of places at which the likeliest token is the target's
MOST_STRAY: Final = 1e-3


def judge_models(patient: Patient, readings: Readings) -> Iterator[Check]:
    """Each model along the texts: nats a token, and the rows past the tokenizer's ids."""
    below: tuple[str, float] | None = None
    for model in patient.models:
        reading = readings.models[model.alias]
        nats = _mean(reading.nats)
        yield _language(patient, model, reading, readings.tokens, below)
        yield _stray(patient, model, reading)
        below = model.alias, nats


def lost_models(patient: Patient, readings: Readings) -> dict[str, str]:
    """Models that do not foresee the text, each with the likely cause."""
    found = {}
    below: tuple[str, float] | None = None
    for model in patient.models:
        reading = readings.models[model.alias]
        if _lost(patient, model, reading, below):
            found[model.alias] = _cause(patient, model)
        below = model.alias, _mean(reading.nats)
    return found


def _language(
    patient: Patient, model: Model, reading: Reading, tokens: int, below: tuple[str, float] | None
) -> Check:
    target, nats = patient.names[-1], _mean(reading.nats)
    uniform = math.log(patient.cascade.vocab_size)
    found = f"{nats:.2f} nats a token on {tokens} tokens of {target}; the likeliest token is {target}'s at "
    found += f"{100 * _mean(reading.agrees):.0f} % of places"
    expected = f"clearly less than the {uniform:.2f} of a uniform guess"
    if below is not None:
        expected += f", and no more than the {below[1]:.2f} of {below[0]}"
    if not _lost(patient, model, reading, below):
        return Check(check="language", subject=model.alias, status="ok", found=found, expected=expected)
    return Check(
        check="language",
        subject=model.alias,
        status="fault",
        found=found,
        expected=expected,
        cause=_cause(patient, model),
        next=put_right(patient.shelf, model),
    )


def _lost(patient: Patient, model: Model, reading: Reading, below: tuple[str, float] | None) -> bool:
    """Whether it does no better than a guess, worse than a smaller model, or never agrees."""
    nats = _mean(reading.nats)
    if not nats < CLUELESS * math.log(patient.cascade.vocab_size):  # NaN too
        return True
    if model is patient.models[-1]:
        return False
    return _mean(reading.agrees) < NEVER or (below is not None and nats > below[1] + WORSE)


def _cause(patient: Patient, model: Model) -> str:
    """A foreign tokenizer, where the files show one; else it must be the weights."""
    shelf, target = patient.shelf, patient.models[-1]
    facts = read_edge_facts(None, shelf.model_place(model).folder, shelf.model_place(target).folder)
    if facts.source_tokenizer is not None and facts.target_tokenizer is not None:
        status, detail = same_content(
            model.alias, facts.source_tokenizer, target.alias, facts.target_tokenizer
        )
        if status == "fail":
            return f"a foreign tokenizer: {detail}"
    return "corrupt or untrained weights: the tokenizer's files are those of the target"


def _stray(patient: Patient, model: Model, reading: Reading) -> Check:
    share, ids = _mean(reading.stray), patient.cascade.vocab_size
    found = f"rows past the tokenizer's {ids} ids have {share:.1e} of the probability"
    if not share:
        found = f"no probability lies past the tokenizer's {ids} ids"
    if share <= MOST_STRAY:
        return Check(check="padding rows", subject=model.alias, status="ok", found=found)
    return Check(
        check="padding rows",
        subject=model.alias,
        status="fault",
        found=found,
        expected=f"at most {MOST_STRAY:g}",
        cause="untrained padding rows, or an output layer of another checkpoint: `decode` masks them, other programs "
        "sample them",
        next=put_right(patient.shelf, model),
    )


def _mean(numbers: list[torch.Tensor]) -> float:
    return float(torch.cat(numbers).double().mean())
