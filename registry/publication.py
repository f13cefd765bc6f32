"""What of a head is published: the files of its record, verified and read once, and its card.

The bytes that were held against the record are kept in memory, and are what is sent. Files that the record holds
besides those of the published layout stay here: work folders, optimizers, and whatever is a pickle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from registry.card import addressed, head_card
from registry.errors import CheckpointError, UsageError
from registry.files.calibrationfile import parse_calibration
from registry.files.filenames import CALIBRATION, CARD, CONFIG, EVALUATION, PICKLE, TRAINER_STATE, WEIGHTS
from registry.files.jsonfile import parse_object
from registry.files.layout import parse_head_config
from registry.names import find_heads
from registry.records import Calibration, Head, LockEntry, Model
from registry.shelf import Shelf
from registry.training import parse_trainer_state
from registry.verify import read_verified

PUBLISHED: Final = (CONFIG, WEIGHTS, TRAINER_STATE, EVALUATION, CALIBRATION, CARD)
"""All that is ever sent of a head."""

_NOTHING_SENT: Final = "Nothing was sent."


@dataclass(frozen=True, kw_only=True)
class Publication:
    """One head, ready to be sent.

    Fields: head, source and target (the catalog's entries), files (name in the head's folder -> bytes, in the
    order of PUBLISHED), made (whether the card was made here, and is not the record's), left_out (recorded
    files that are not sent), license (as the Hub writes it).
    """

    head: Head
    source: Model
    target: Model
    files: Mapping[str, bytes]
    made: bool
    left_out: tuple[str, ...]
    license: str

    @property
    def folder(self) -> str:
        """Where it lies in a repository, whatever its catalog's `path:` says."""
        return self.head.name

    @property
    def card(self) -> str:
        """The card that goes with it."""
        return self.files[CARD].decode("utf-8", "replace")

    def sha256(self, name: str) -> str:
        """The digest of one file."""
        return hashlib.sha256(self.files[name]).hexdigest()


def find_head(shelf: Shelf, name: str) -> Head:
    """The one head that `name` calls.

    Raises:
        UnknownNameError: None does.
        UsageError: Several runs do.
    """
    found = find_heads(shelf.catalog, name)
    if len(found) > 1:
        names = ", ".join(head.name for head in found)
        raise UsageError(f"{name} calls {len(found)} heads, expected one: say which of {names}.")
    return found[0]


def prepare(shelf: Shelf, head: Head, *, repo: str, license_id: str = "mit") -> Publication:
    """Verify a head, read the files of its record, and make its card unless the record has one of its own.

    Args:
        shelf: Where it is.
        head: Which.
        repo: The repository it is for, which the card names.
        license_id: As the Hub writes it.

    Raises:
        NotInstalledError: It is not on this machine.
        CheckpointError: It is stored as a pickle, has no record, or `verify` finds a fault in it.
    """
    folder = shelf.head_place(head).installed(head.name)
    entry = _require_publishable(shelf, head, folder)
    names = [name for name in PUBLISHED if name in entry.files and (folder / name).exists()]
    files = read_verified(folder, entry, names, subject=head.name)
    source, target = shelf.catalog.models[head.source], shelf.catalog.models[head.target]
    card = _card(files, repo)
    if card is None:
        facts = _facts(head, folder, files)
        card = head_card(
            source=source, target=target, head=head, license=license_id, repo=repo, **facts
        ).encode()
    made = card != files.get(CARD)
    files[CARD] = card
    return Publication(
        head=head,
        source=source,
        target=target,
        files=files,
        made=made,
        left_out=tuple(sorted(entry.files.keys() - files.keys())),
        license=license_id,
    )


def _card(files: Mapping[str, bytes], repo: str) -> bytes | None:
    """The recorded card; one that was made before there was a repository gets its name."""
    recorded = files.get(CARD)
    try:
        return None if recorded is None else addressed(recorded.decode(), repo).encode()
    except UnicodeDecodeError:
        return recorded


def _require_publishable(shelf: Shelf, head: Head, folder: Path) -> LockEntry:
    """The head's record, if there is one and all of the head is as `verify` wants it."""
    if (folder / PICKLE).exists() and not (folder / WEIGHTS).exists():
        raise _refused(
            head,
            folder,
            f"{PICKLE} is a pickle, which nobody should have to load",
            f"`specreg convert {head.name} --out FOLDER` makes safetensors of it: put that into a catalog, "
            "`specreg lock` it, and publish it from there.",
        )
    entry = shelf.lock.heads.get(head.name)
    if entry is None:
        raise _refused(
            head,
            folder,
            "it has no recorded digests to hold its files against",
            "`specreg lock CATALOG` records what a catalog keeps in folders.",
        )
    report = shelf.verify_head(head)
    if not report.ok:
        raise _refused(
            head, folder, "; ".join(report.faults), f"`specreg verify {head.name}` shows every check."
        )
    return entry


def _facts(head: Head, folder: Path, files: Mapping[str, bytes]) -> dict[str, Any]:
    """What the files tell a card. What cannot be read there is left out: it is no part of what makes a head sound."""
    config = parse_head_config(files[CONFIG])
    training = evaluation = None
    calibration = head.calibration
    if TRAINER_STATE in files:
        training = _read(
            lambda content: parse_trainer_state(content, file=TRAINER_STATE), files[TRAINER_STATE]
        )
    if EVALUATION in files:
        path = folder / EVALUATION
        evaluation = _read(lambda content: parse_object(content, path, next_step=""), files[EVALUATION])
    if CALIBRATION in files:
        calibration = _calibration(files[CALIBRATION]) or calibration
    return {
        "config": {"hidden_size": config.hidden_size, "num_layers": config.num_layers},
        "training": training,
        "evaluation": evaluation,
        "calibration": calibration,
    }


def _calibration(content: bytes) -> Calibration | None:
    found: Calibration | None = _read(lambda data: parse_calibration(data, file=CALIBRATION), content)
    return found


def _read(parse: Any, content: bytes) -> Any:
    try:
        return parse(content)
    except CheckpointError:
        return None


def _refused(head: Head, folder: Path, problem: str, next_step: str) -> CheckpointError:
    return CheckpointError(
        f"{head.name} cannot be published: {problem}. {_NOTHING_SENT} {next_step}",
        path=str(folder),
        problems=[problem],
    )
