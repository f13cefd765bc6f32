"""A head whose files are at fault, or without a record: told once, and all that is looked at without it says so."""

from __future__ import annotations

import pytest

from heads.bench.prompts import own_prompts
from heads.doctor.check import Check, Examination
from heads.doctor.examine import examine
from heads.doctor.files import judge_files
from heads.doctor.fit import chosen_chain
from registry.shelf import Shelf
from tests.doctor.ward import DRAFT_TARGET, Ward


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Ward:
    """A family in a folder whose name a shell would take for two words."""
    return Ward(tmp_path_factory.mktemp("of our own") / "a ward")


@pytest.fixture(scope="module")
def found(ward: Ward) -> Examination:
    """The chain of two, examined after a byte of its head was changed."""
    shelf = ward.shelf()
    weights = ward.root / DRAFT_TARGET / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    found = examine(
        shelf,
        "pico-draft",
        "pico-target",
        length=2,
        prompts=own_prompts()[:1],
        max_new_tokens=4,
        tokens=16,
        device="cpu",
    )
    weights.write_bytes(content)
    return found


def only(found: Examination, check: str) -> Check:
    """The one line of that check about a head or a chain."""
    (one,) = [one for one in found.checks if one.check == check]
    return one


def test_a_flipped_byte_is_one_fault(found: Examination, ward: Ward) -> None:
    """
    It is told by its file, with what mends a folder of one's own; loading only says that the head is left out.
    """
    (fault,) = found.of("fault")

    assert (fault.check, fault.subject) == ("files", DRAFT_TARGET)
    assert str(fault.next).startswith(f"specreg lock '{ward.catalog}'  # once the right files lie in")
    left_out = only(found, "loading")
    assert (left_out.subject, left_out.status) == (DRAFT_TARGET, "unknown")
    assert "its edge is looked at without it" in left_out.found


@pytest.mark.parametrize("check", ["drafts", "speed"])
def test_what_a_chain_does_without_its_head_is_told_as_such(found: Examination, check: str) -> None:
    """
    `decode` would end there, so that these figures are not those of the chain.
    """
    assert only(found, check).found.endswith(", without a head from pico-draft to pico-target")


def test_a_suggested_command_keeps_the_catalog_and_the_options(found: Examination, ward: Ward) -> None:
    """
    It measures this very chain in this very setup, and a shell takes it as it is printed.
    """
    assert only(found, "prediction").next == (
        f"specreg measure pico-draft pico-target --length 2 --device cpu --catalog '{ward.catalog}'"
    )


def test_a_head_without_a_record_is_at_fault(ward: Ward) -> None:
    """
    What `decode` would refuse is no sound head; `specreg lock` makes the record.
    """
    known = ward.shelf()
    shelf = Shelf(known.catalog, known.lock.model_copy(update={"heads": {}}), given=known.given)
    chain, _ = chosen_chain(shelf, "pico-draft", "pico-target", length=2, via=(), run=None)

    (fault,) = [one for one in judge_files(shelf, chain) if one.status != "ok"]

    assert (fault.subject, fault.status) == (DRAFT_TARGET, "fault")
    assert fault.found == "no record to hold its files against"
    assert fault.next == f"specreg lock '{ward.catalog}'"
