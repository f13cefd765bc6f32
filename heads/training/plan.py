"""What a training is made from: every option that its result depends on, and the digests of what it reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from heads.training.room import room_told
from registry.errors import UsageError
from registry.files.wholefile import put_whole
from registry.records import LockEntry

PLAN: Final = "plan.json"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Options and digests, as JSON has them. Two runs of one plan end with the same head."""

    facts: Mapping[str, Any]

    def keep(self, folder: Path) -> None:
        """Write it into the work folder, or hold it against the plan that is there.

        Raises:
            UsageError: the plan there is another; every difference is told. Or the disk is full.
        """
        with room_told(folder, PLAN):
            self._keep(folder)

    def _keep(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / PLAN
        mine: dict[str, Any] = json.loads(json.dumps(self.facts))
        try:
            there = json.loads(path.read_text())
        except FileNotFoundError:
            put_whole((json.dumps(mine, indent=2) + "\n").encode(), path)
            return
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{path} cannot be read: {error}. Delete {folder} to begin anew, or give another --run."
            ) from error
        other = there if isinstance(there, dict) else {}
        differing = [
            f"{key} was {_shown(other.get(key))}, now {_shown(mine.get(key))}"
            for key in {**mine, **other}
            if mine.get(key) != other.get(key)
        ]
        if differing:
            raise UsageError(
                f"{folder} holds the steps of another training: {'; '.join(differing)}. Give the same options to go "
                "on with it, another --run, or delete that folder to begin anew."
            )


def prompts_digest(prompts: Sequence[Sequence[int]]) -> str:
    """One sha256 for the token ids of all prompts, in order."""
    return hashlib.sha256(json.dumps([list(one) for one in prompts]).encode()).hexdigest()


def entry_digest(entry: LockEntry | None) -> str | None:
    """One sha256 for all that a record says of a model's files."""
    if entry is None:
        return None
    told = {name: file.sha256 for name, file in sorted(entry.files.items())}
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
