"""Where a branch went from a commit that a lock keeps: on from there, or elsewhere, as far as the Hub tells."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.errors import HubError

if TYPE_CHECKING:
    from registry.hub.client import Hub


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A branch or tag that no longer stands at the commit that the lock keeps.

    That is news and no fault, unless that commit did not lead to where it stands now: then its history was
    rewritten, or the commit is of another branch. `led_here` is None where the Hub does not tell.
    """

    revision: str
    commit: str
    led_here: bool | None


class Histories:
    """What led to the commits that branches stand at. The Hub is asked once for each."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], frozenset[str] | None] = {}

    def moved(self, hub: Hub, repo: str, revision: str, *, commit: str, stands_at: str) -> Moved | None:
        """Where a branch went from `commit`; None where it stands there still."""
        if commit == stands_at:
            return None
        history = self._that_led_to(hub, repo, stands_at)
        led_here = None if history is None else commit in history
        return Moved(revision=revision, commit=stands_at, led_here=led_here)

    def _that_led_to(self, hub: Hub, repo: str, commit: str) -> frozenset[str] | None:
        key = repo, commit
        if key not in self._known:
            self._known[key] = None
            with suppress(HubError):  # a hub without histories, or one that fails: then nothing is known
                self._known[key] = hub.history(repo, commit)
        return self._known[key]
