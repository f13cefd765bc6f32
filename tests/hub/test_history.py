"""A commit of a lock that did not lead to where its branch stands: rewritten history, or another branch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from registry.recording import Recording, record_catalog, write_recording
from tests.hub.conftest import EDGE, REPO, Machine
from tests.hub.server import LocalHub, Refusal

Spoil = Callable[[LocalHub], object]
NAMES = [EDGE, "b--to--c/pickled"]


@pytest.fixture
def own(machine: Machine, tmp_path: Path) -> Path:
    """A catalog whose lock keeps a commit that the branch has gone on from since."""
    catalog = tmp_path / "own.yaml"
    catalog.write_text(
        "version: 1\nsources:\n  published: {hub: org/heads}\nmodels:\n  a: {}\n  b: {}\n  c: {}\nheads:\n"
        "  - {source: a, target: b, run: run, from: published}\n"
        "  - {source: b, target: c, run: pickled, from: published}\n"
    )
    write_recording(recorded(catalog, machine.hub))
    machine.hub.keep(REPO)
    machine.hub.put(REPO, "README.md", b"# once\n")
    machine.hub.keep(REPO)
    machine.hub.put(REPO, "README.md", b"# twice\n")
    return catalog


def recorded(catalog: Path, hub: LocalHub, *, upgrade: bool = False) -> Recording:
    """The catalog's heads as they are now."""
    return record_catalog(catalog, endpoint=hub.endpoint, timeout_s=5.0, upgrade=upgrade)


def rewritten(hub: LocalHub) -> None:
    """All commits but the last became one."""
    hub.faults.history = lambda commits: [commits[0], "0" * 40]


def led_here(recording: Recording) -> set[bool | None]:
    """What is known of each head's commit."""
    return {one.moved.led_here for one in recording.moved if one.moved is not None}


@pytest.mark.parametrize("page", [1, 2, 1_000])
def test_a_branch_that_went_on_is_no_drift(hub: LocalHub, own: Path, page: int) -> None:
    """
    The commit of the lock is two commits back, on whatever page of the history.
    """
    hub.faults.page = page

    recording = recorded(own, hub)

    assert [one.name for one in recording.moved] == NAMES
    assert (led_here(recording), recording.strayed) == ({True}, ())


def test_a_commit_that_history_lost_is_drift(hub: LocalHub, own: Path) -> None:
    """
    Its files are as recorded, and yet nobody who looks at the branch finds where they came from.
    """
    rewritten(hub)

    recording = recorded(own, hub)

    assert [one.name for one in recording.strayed] == NAMES
    assert (led_here(recording), recording.changed) == ({False}, ())


def test_one_history_is_asked_for_once(hub: LocalHub, own: Path) -> None:
    """
    Two heads of one repository cost one more request.
    """
    hub.requests.clear()

    recorded(own, hub)

    assert sum("/commits/" in request for request in hub.requests) == 1


def test_a_branch_that_stands_where_the_lock_does_has_no_history_asked(hub: LocalHub, own: Path) -> None:
    """
    After an upgrade there is nothing to ask about, and a rewritten history is let go.
    """
    rewritten(hub)
    hub.requests.clear()

    recording = recorded(own, hub, upgrade=True)

    assert recording.moved == ()
    assert not [request for request in hub.requests if "/commits/" in request]


def no_endpoint(hub: LocalHub) -> None:
    """A hub that knows no histories."""
    hub.faults.refusals = [Refusal(status=404, where="/commits/")]


def failing(hub: LocalHub) -> None:
    """A hub that fails over them."""
    hub.faults.refusals = [Refusal(status=500, where="/commits/")]


def uncounted(hub: LocalHub) -> None:
    """Nobody can tell whether the listing is whole."""
    rewritten(hub)
    hub.faults.unsent = None


def cut(hub: LocalHub) -> None:
    """The address of the next page was lost: fewer commits come than there are."""
    hub.faults.history, hub.faults.unsent = lambda commits: commits[:1], 2


def of_another(hub: LocalHub) -> None:
    """The history is of another commit than the one asked for."""
    hub.faults.history = lambda commits: commits[1:2]


def nonsense(hub: LocalHub) -> None:
    """Rows that are no commits."""
    hub.faults.history = lambda commits: [[one] for one in commits]  # type: ignore[misc]


def endless(hub: LocalHub) -> None:
    """More commits than are read."""
    hub.faults.history = lambda commits: [commits[0], *(f"{number:040x}" for number in range(2_000))]


@pytest.mark.parametrize("spoil", [no_endpoint, failing, uncounted, cut, of_another, nonsense, endless])
def test_what_the_hub_does_not_tell_is_no_drift(hub: LocalHub, own: Path, spoil: Spoil) -> None:
    """
    Where the history cannot be had whole, a branch that stands elsewhere is news as before.
    """
    spoil(hub)

    recording = recorded(own, hub)

    assert [one.name for one in recording.moved] == NAMES
    assert (led_here(recording), recording.strayed) == ({None}, ())
