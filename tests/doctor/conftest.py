"""The shipped chain, loaded once."""

from __future__ import annotations

import pytest

from heads.doctor.decoding import Decoded, decode_prompts
from heads.doctor.fit import chosen_chain
from heads.doctor.loading import Patient, load_patient
from heads.doctor.speed import lengths_for
from registry.shelf import Shelf

PROMPT = [300, 301, 302, 303]
NEW_TOKENS = 24


def loaded(dtype: str) -> Patient:
    """Draft and target of the shipped family."""
    shelf = Shelf.open()
    chain, _ = chosen_chain(shelf, "pico-draft", "pico-target", length=2, via=(), run=None)
    patient, checks = load_patient(shelf, chain, (), device="cpu", dtype=dtype, engine=None)
    assert patient is not None
    assert checks == []
    return patient


@pytest.fixture(scope="module")
def patient() -> Patient:
    return loaded("float32")


@pytest.fixture(scope="module")
def decoded(patient: Patient) -> list[Decoded]:
    """One prompt, continued by the target alone and by the chain."""
    return decode_prompts(
        patient, [PROMPT], max_new_tokens=NEW_TOKENS, lengths=lengths_for(patient, "nothing is known")
    )
