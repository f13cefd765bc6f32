"""A head on this machine against its record, its config and the two models it joins.

Every file and every check is reported; nothing stops at the first fault. Tensors are looked at through numpy,
a megabyte at a time, and nothing is executed or unpickled.

| check | asks |
|---|---|
| record | do all files match the recorded size and sha256? |
| config | does config.json tell a hidden size and a depth? |
| format | are the weights a sound safetensors file? |
| tensors | are names and shapes those that config.json implies, in one of the two stored forms? |
| dtype | are all tensors of one floating dtype? |
| finite | is every number finite? |
| depth | does the run's name tell the depth that config.json tells? |
| hidden_size | does the head read hidden states as wide as its source model's own config.json says? |
| tokenizer | does an id mean the same to both models, by their files where these are here? |
| vocabulary | do the output layers of both models cover the same ids? |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from registry.command import Catalogs, command
from registry.files.filenames import CALIBRATION, CARD, EVALUATION, TRAINER_STATE
from registry.files.folder import CheckpointFolder, HashedFile
from registry.files.manifest import (
    Content,
    check_files,
    judge_record,
    refusal,
    required,
    take_recorded,
)
from registry.headsight import CONFIG, PICKLE, WEIGHTS, Ends, HeadSight, judge_head, judge_ids, judge_width
from registry.modelcheck import INERT_NAMES, INERT_SUFFIXES, verify_model
from registry.places import Place, hub_cache
from registry.records import Finding, Head, LockEntry
from registry.report import HeadReport, ModelReport, report_json
from registry.suggested import CATALOG, fetching, locking, restoring

__all__ = [
    "Ends",
    "HeadReport",
    "ModelReport",
    "read_verified",
    "read_verified_buffer",
    "report_json",
    "verify_head",
    "verify_model",
]

OPTIONAL: Final = frozenset({TRAINER_STATE, EVALUATION, CARD, ".gitattributes"})

# What training leaves in a repository. Another tool may put it into the Hub's snapshot after us; no loader of
# heads reads it. A list of what may lie there, so that whatever a loader might read stays a fault.
LEFT_BY_TRAINING: Final = frozenset(
    {
        *("training_args.bin", "training_args.json", "optimizer.pt", "optimizer.bin", "scheduler.pt"),
        *("scheduler.bin", "scaler.pt", "rng_state.pth"),
        *("all_results.json", "train_results.json", "eval_results.json"),
    }
)
UNREAD_SUFFIXES: Final = INERT_SUFFIXES | {".txt", ".log", ".csv"}
MAX_HEAD_FILE_BYTES: Final = 4 << 30
NOTHING_KNOWN: Final = Ends()


def verify_head(
    head: Head,
    folder: Path | Place,
    *,
    entry: LockEntry | None,
    ends: Ends = NOTHING_KNOWN,
    catalogs: Catalogs = (),
) -> HeadReport:
    """Check one head: every file against the record, every check of the table above.

    Args:
        head: The catalog's entry.
        folder: Its folder on this machine, or the place it was found at.
        entry: Its record; without one, files are 'unrecorded', and a head without a fault is ok, but not verified.
        ends: The two models it joins, as far as they are known.
        catalogs: What suggested commands are to be given too.

    Raises:
        NotInstalledError: the place says that the head is not here.
    """
    in_snapshot = isinstance(folder, Place) and folder.kind == "hub"
    if isinstance(folder, Place):
        folder = folder.installed(head.name)
    recorded = entry.files.keys() if entry is not None else frozenset[str]()

    def harmless(name: str) -> bool:
        if name in OPTIONAL:
            return True
        # a calibration is read where it is recorded, and nowhere else
        return name not in recorded and (name == CALIBRATION or (in_snapshot and _is_unread(name)))

    sight = HeadSight()
    reports = check_files(
        CheckpointFolder(folder),
        entry,
        inspector_of=sight.inspector_of,
        harmless=harmless,
        max_bytes=MAX_HEAD_FILE_BYTES,
    )
    here = {report.path for report in reports if report.status != "missing"}
    pickled = PICKLE in here and WEIGHTS not in here
    reports = required((CONFIG,) if pickled else (CONFIG, WEIGHTS), reports)
    verdicts = {"record": judge_record(reports, entry, sight.problems)}
    verdicts |= judge_head(sight, run=head.run, pickled=pickled)
    if pickled:
        status, detail = verdicts["format"]
        convert = command("convert", head.name, catalogs=catalogs)
        verdicts["format"] = status, f"{detail}; `{convert}` makes safetensors of it"
    verdicts["hidden_size"] = judge_width(sight.config, ends)
    verdicts |= judge_ids(head, ends)
    findings = tuple(
        Finding(check=check, subject=head.name, status=status, detail=detail)
        for check, (status, detail) in verdicts.items()
    )
    return HeadReport(head=head.name, files=reports, findings=findings)


def read_verified(
    folder: Path | Place, entry: LockEntry | None, names: Sequence[str], *, subject: str | None = None
) -> dict[str, bytes]:
    """Read files whole; the bytes returned are the very bytes that were hashed and matched the record.

    Args:
        folder: A head's folder, or that of a small model, or the place it was found at.
        entry: Its record.
        names: Files to read, 4 GiB each at most.
        subject: What messages call the checkpoint; the folder when None.

    Raises:
        CheckpointError: no record, a file without one, or a file that is missing, unreadable, no regular file
            inside the folder, or differs from its record.
        NotInstalledError: the place says that it is not here.
    """
    place = _place_of(folder)
    checkpoint = CheckpointFolder(place.installed(subject or place.looked_in))
    return {
        name: _read(checkpoint, name, HashedFile.read_all, place=place, entry=entry, subject=subject)
        for name in names
    }


def read_verified_buffer(
    folder: Path | Place, entry: LockEntry | None, name: str, *, subject: str | None = None
) -> memoryview:
    """As `read_verified`, one file, in writable memory that tensors can be built on without a copy."""
    place = _place_of(folder)
    checkpoint = CheckpointFolder(place.installed(subject or place.looked_in))
    return _read(checkpoint, name, HashedFile.read_buffer, place=place, entry=entry, subject=subject)


def _place_of(folder: Path | Place) -> Place:
    """A folder's place: in the Hub's cache, or of the user's own."""
    if isinstance(folder, Place):
        return folder
    in_cache = folder.absolute().is_relative_to(hub_cache().absolute())
    return Place(folder=folder, looked_in=str(folder), kind="hub" if in_cache else "folder")


def _read(
    folder: CheckpointFolder,
    name: str,
    read: Callable[[HashedFile], Content],
    *,
    place: Place,
    entry: LockEntry | None,
    subject: str | None,
) -> Content:
    called = subject or str(folder.path)
    record = entry.files.get(name) if entry is not None else None
    if record is None:
        problem = "it has no recorded digest to compare with"
        next_step = _how_to_record(place, entry, subject)
        raise refusal(folder, called, name, problem, next_step)
    return take_recorded(
        read,
        folder,
        record,
        name,
        subject=called,
        max_bytes=MAX_HEAD_FILE_BYTES,
        next_step=restoring(place),
    )


def _is_unread(name: str) -> bool:
    """Whether no loader of heads reads such a file: they read config.json and the weights beside it."""
    if "/" in name:
        return True
    return (
        name in INERT_NAMES
        or name in LEFT_BY_TRAINING
        or Path(name).suffix.lower() in UNREAD_SUFFIXES
        or name.startswith("events.out.tfevents.")
    )


def _how_to_record(place: Place, entry: LockEntry | None, subject: str | None) -> str:
    """The command that makes the record that is missing."""
    if place.kind != "hub":
        return f"`{locking()}` records what a catalog keeps in folders."
    if entry is None:
        fetched = command("download", "HEAD") if subject is None else fetching(subject)
        return f"`{fetched}` checks it against the Hub's digests and records it."
    anew = command("lock", CATALOG, "--upgrade", subject or "HEAD")
    return f"Its record is of other files: `{anew}` makes it anew."
