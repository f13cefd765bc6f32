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

from registry.files.folder import CheckpointFolder, HashedFile
from registry.files.manifest import Content, check_files, judge_record, refusal, required, take_recorded
from registry.headsight import CONFIG, PICKLE, WEIGHTS, Ends, HeadSight, judge_head, judge_ids, judge_width
from registry.modelcheck import verify_model
from registry.places import Place
from registry.records import Finding, Head, LockEntry
from registry.report import HeadReport, ModelReport, report_json

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

OPTIONAL: Final = frozenset({"trainer_state.json", "evaluation.json", "README.md", ".gitattributes"})
MAX_HEAD_FILE_BYTES: Final = 4 << 30
NOTHING_KNOWN: Final = Ends()


def verify_head(
    head: Head,
    folder: Path | Place,
    *,
    entry: LockEntry | None,
    ends: Ends = NOTHING_KNOWN,
) -> HeadReport:
    """Check one head: every file against the record, every check of the table above.

    Args:
        head: The catalog's entry.
        folder: Its folder on this machine, or the place it was found at.
        entry: Its record; without one, files are 'unrecorded' and a sound head is ok.
        ends: The two models it joins, as far as they are known.

    Raises:
        NotInstalledError: the place says that the head is not here.
    """
    if isinstance(folder, Place):
        folder = folder.installed(head.name)
    sight = HeadSight()
    reports = check_files(
        CheckpointFolder(folder),
        entry,
        inspector_of=sight.inspector_of,
        harmless=OPTIONAL.__contains__,
        max_bytes=MAX_HEAD_FILE_BYTES,
    )
    here = {report.path for report in reports if report.status != "missing"}
    pickled = PICKLE in here and WEIGHTS not in here
    reports = required((CONFIG,) if pickled else (CONFIG, WEIGHTS), reports)
    verdicts = {"record": judge_record(reports, entry, sight.problems)}
    verdicts |= judge_head(sight, run=head.run, pickled=pickled)
    verdicts["hidden_size"] = judge_width(sight.config, ends)
    verdicts |= judge_ids(head, ends)
    findings = tuple(
        Finding(check=check, subject=head.name, status=status, detail=detail)
        for check, (status, detail) in verdicts.items()
    )
    return HeadReport(head=head.name, files=reports, findings=findings)


def read_verified(
    folder: Path, entry: LockEntry | None, names: Sequence[str], *, subject: str | None = None
) -> dict[str, bytes]:
    """Read files whole; the bytes returned are the very bytes that were hashed and matched the record.

    Args:
        folder: A head's folder, or that of a small model.
        entry: Its record.
        names: Files to read, 4 GiB each at most.
        subject: What messages call the checkpoint; the folder when None.

    Raises:
        CheckpointError: no record, a file without one, or a file that is missing, unreadable, no regular file
            inside the folder, or differs from its record.
    """
    checkpoint = CheckpointFolder(folder)
    return {name: _read(checkpoint, entry, name, subject, HashedFile.read_all) for name in names}


def read_verified_buffer(
    folder: Path, entry: LockEntry | None, name: str, *, subject: str | None = None
) -> memoryview:
    """As `read_verified`, one file, in writable memory that tensors can be built on without a copy."""
    return _read(CheckpointFolder(folder), entry, name, subject, HashedFile.read_buffer)


def _read(
    folder: CheckpointFolder,
    entry: LockEntry | None,
    name: str,
    subject: str | None,
    read: Callable[[HashedFile], Content],
) -> Content:
    subject = subject or str(folder.path)
    record = entry.files.get(name) if entry is not None else None
    if record is None:
        problem = "it has no recorded digest to compare with"
        next_step = "`specreg lock CATALOG` records what a catalog keeps in folders."
        raise refusal(folder, subject, name, problem, next_step)
    return take_recorded(read, folder, record, name, subject=subject, max_bytes=MAX_HEAD_FILE_BYTES)
