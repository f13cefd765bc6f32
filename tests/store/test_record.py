"""A damaged record of what was downloaded: told with its remedy, set aside by `store rebuild`, and never deleted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry.errors import UsageError
from registry.hub.downloaded import set_aside
from tests.store.conftest import HEAD

pytestmark = pytest.mark.usefixtures("folder")

Run = Callable[..., Any]
DAMAGES = {
    "cut": '{"version": 1, "heads": {',
    "no JSON": "\0" * 700,
    "another shape": '{"version": 1, "heads": []}',
    "a name that leaves its folder": '{"version": 1, "heads": {"../x": {"files": {}}}}',
}


@pytest.fixture
def record(own_home: Path) -> Path:
    """Where the record of this test is; its folder is there."""
    path = own_home / "specreg" / "downloaded.lock"
    path.parent.mkdir(parents=True)
    return path


def kept(record: Path) -> list[str]:
    """What was set aside."""
    return [path.read_text() for path in record.parent.glob("downloaded.lock.bad-*")]


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_record_is_set_aside_by_a_rebuild(specreg: Run, record: Path, damage: str) -> None:
    """
    It keeps every byte under another name, the store is made anew from files, and everything works again.
    """
    record.write_text(damage)

    found = specreg("store", "rebuild")

    assert (found.code, kept(record), record.exists()) == (0, [damage], False)
    assert f"was set aside: {record}.bad-" in found.err
    assert "checkpoints" in found.out
    assert "set aside" not in found.out
    assert HEAD in specreg("list").out


@pytest.mark.parametrize(
    "words", [["list"], ["verify"], ["show", HEAD], ["store", "history", HEAD]], ids=" ".join
)
def test_every_other_command_refuses_it_and_names_the_rebuild(
    specreg: Run, record: Path, words: list[str]
) -> None:
    """
    Nothing but a rebuild moves it, and the sentence says so.
    """
    record.write_text(DAMAGES["cut"])

    found = specreg(*words)

    assert found.code == 2
    assert "`specreg store rebuild` sets it aside" in found.err
    assert record.read_text() == DAMAGES["cut"]


def test_the_document_of_a_rebuild_says_where_it_went(specreg: Run, record: Path) -> None:
    """
    One JSON document on stdout, whatever was set aside.
    """
    record.write_text(DAMAGES["cut"])

    first, second = (json.loads(specreg("store", "rebuild", "--json").out) for _ in range(2))

    assert Path(first["record_set_aside"]).read_text() == DAMAGES["cut"]
    assert second["record_set_aside"] is None


def test_a_sound_record_stays(specreg: Run, record: Path) -> None:
    """
    What can be read is not set aside, be it empty.
    """
    record.write_text('{"version": 1}')

    assert specreg("store", "rebuild").err == ""
    assert (record.read_text(), kept(record)) == ('{"version": 1}', [])


def later(record: Path) -> None:
    """A record as some later specreg may write it."""
    record.write_text('{"version": 2}')


def circle(record: Path) -> None:
    """A link to itself: the system does not open it."""
    record.symlink_to(record)


@pytest.mark.parametrize("kept_from_us", [later, circle])
def test_what_may_be_sound_is_not_set_aside(
    specreg: Run, record: Path, kept_from_us: Callable[[Path], None]
) -> None:
    """
    That we cannot read it is no proof of damage: the rebuild ends with 2 as other commands do, and points nowhere else.
    """
    kept_from_us(record)

    found = specreg("store", "rebuild")

    assert found.code == 2
    assert "Mend that, and try again" in found.err
    assert "store rebuild" not in found.err
    assert record.is_symlink() or record.exists()


def test_a_record_that_cannot_be_moved_is_said(record: Path) -> None:
    """
    A folder that takes no new name leaves the record where it is, in one sentence.
    """
    record.write_text(DAMAGES["cut"])
    record.with_name("downloaded.lock.held").mkdir()

    with pytest.raises(UsageError, match=r"could not be set aside: .*Mend that"):
        set_aside(record)

    assert record.read_text() == DAMAGES["cut"]
