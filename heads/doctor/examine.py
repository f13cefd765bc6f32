"""The whole examination, step by step; a fault ends none of what can still be looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Final

from heads.bench.encoded import encoded
from heads.bench.prompts import BenchPrompt
from heads.doctor.acceptance import judge_acceptance, low_edges
from heads.doctor.check import Check, Examination
from heads.doctor.decoding import Decoded, decode_prompts, judge_decoding
from heads.doctor.files import judge_files, told_once
from heads.doctor.fit import chosen_chain, misfits
from heads.doctor.heads import judge_heads
from heads.doctor.loading import Patient, load_patient
from heads.doctor.models import judge_models, lost_models
from heads.doctor.numbers import judge_numbers
from heads.doctor.readings import TOKENS, read_texts
from heads.doctor.speed import judge_speed, lengths_for, measured_here, slow
from heads.measuring.setting import setup_of
from registry.errors import GenerationError
from registry.pipeline import Pipeline
from registry.shelf import Shelf

SECOND_LOOKS: Final = 2
Bar = Callable[[int, str], AbstractContextManager[Callable[[str], None]]]


def _silent(_total: int, _what: str) -> AbstractContextManager[Callable[[str], None]]:
    return nullcontext(lambda _: None)


def examine(
    shelf: Shelf,
    source: str,
    target: str,
    *,
    prompts: Sequence[BenchPrompt],
    length: int | None = None,
    via: tuple[str, ...] = (),
    run: str | None = None,
    chat: bool = False,
    max_new_tokens: int = 64,
    tokens: int = TOKENS,
    device: str | None = None,
    dtype: str | None = None,
    engine: str | None = None,
    bar: Bar = _silent,
) -> Examination:
    """Look at a chain from end to end.

    Args:
        shelf: Catalog and places.
        source, target: First and last model.
        prompts: What texts begin with.
        length, via, run: Which of several chains.
        chat: Take each prompt as a user's message.
        max_new_tokens: Of each text.
        tokens: That the target says at temperature 1, for models and heads to be judged by.
        device, dtype, engine: As for decoding.
        bar: Opens a progress bar of so many steps, called so.

    Raises:
        NoChainError: There is no path.
        NotInstalledError: A model is not here.
        UsageError: It could not look: no such device, no room, or a prompt that is too long.
    """
    chain, checks = chosen_chain(shelf, source, target, length=length, via=via, run=run)
    Pipeline(chain, shelf).require_installed(heads=False)  # without models there is nothing to look at
    checks += judge_files(shelf, chain)
    given = {"run": run, "device": device, "dtype": dtype, "engine": engine, "chat": "" if chat else None}
    options = {name: value for name, value in given.items() if value is not None}
    with bar(len(chain.models), "loading") as told:
        patient, found = load_patient(
            shelf,
            chain,
            misfits(checks),
            device=device,
            dtype=dtype,
            engine=engine,
            options=options,
            told=told,
        )
    checks += list(told_once(checks, found))
    if patient is None:
        return Examination(models=chain.names, device=None, checks=tuple(checks))
    checks += judge_numbers(patient)
    ids = encoded(prompts, patient.cascade, max_new_tokens=max_new_tokens, chat=chat)
    checks += _behaviour(patient, ids, chat=chat, max_new_tokens=max_new_tokens, tokens=tokens, bar=bar)
    low = low_edges(checks)
    checks += _work(patient, ids, chat=chat, max_new_tokens=max_new_tokens, low=low, bar=bar)
    return Examination(models=chain.names, device=str(setup_of(patient.cascade)), checks=tuple(checks))


def _behaviour(
    patient: Patient, ids: Sequence[Sequence[int]], *, chat: bool, max_new_tokens: int, tokens: int, bar: Bar
) -> list[Check]:
    """What models and heads make of texts of the target."""
    with bar(len(ids), "reading texts") as told:
        readings = read_texts(
            patient, ids, max_new_tokens=max_new_tokens, tokens=tokens, told=partial(told, "")
        )
    lost = lost_models(patient, readings)
    return [
        *judge_models(patient, readings),
        *judge_acceptance(patient, readings, lost, chat=chat),
        *judge_heads(patient, readings),
    ]


def _work(
    patient: Patient,
    ids: Sequence[Sequence[int]],
    *,
    chat: bool,
    max_new_tokens: int,
    low: bool,
    bar: Bar,
) -> list[Check]:
    """The chain decoding."""
    measured = measured_here(patient)
    lengths = lengths_for(patient, measured)

    def decoded_once() -> list[Decoded]:
        with bar(len(ids), "decoding") as told:
            return decode_prompts(
                patient, ids, max_new_tokens=max_new_tokens, lengths=lengths, told=partial(told, "")
            )

    try:
        decoded = decoded_once()
    except GenerationError as error:  # lengths were looked at before: it is the numbers
        cause = "corrupt weights, or a dtype that they overflow in"
        step = patient.again(dtype="float32")
        subject = " -> ".join(patient.names)
        return [
            Check(check="text", subject=subject, status="fault", found=str(error), cause=cause, next=step)
        ]
    checks = list(judge_decoding(patient, decoded, chat=chat, low=low))
    if len(patient.names) == 1:
        return checks
    speed = list(judge_speed(patient, decoded, measured, lengths, low=low))
    for _ in range(SECOND_LOOKS):
        if low or not slow(speed):  # where little is kept it is slow whenever one looks
            break
        decoded = [one.sooner(other) for one, other in zip(decoded, decoded_once(), strict=True)]
        speed = list(judge_speed(patient, decoded, measured, lengths, low=low))
    return checks + speed
