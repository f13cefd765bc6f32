"""A head on this machine against its record, its config and its source model.

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
| hidden_size | does the head read hidden states as wide as its source model's? |
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from registry.folder import CheckpointFolder
from registry.headsight import CONFIG, PICKLE, WEIGHTS, HeadSight, judge_head, judge_width
from registry.manifest import check_files, judge_record, read_recorded, refusal, required
from registry.modelcheck import verify_model
from registry.places import Place
from registry.records import Finding, Head, LockEntry, Model
from registry.report import HeadReport, ModelReport, report_json

__all__ = ["HeadReport", "ModelReport", "read_verified", "report_json", "verify_head", "verify_model"]

OPTIONAL: Final = frozenset({"trainer_state.json", "evaluation.json", "README.md", ".gitattributes"})
MAX_HEAD_FILE_BYTES: Final = 4 << 30


def verify_head(
    head: Head,
    folder: Path | Place,
    *,
    entry: LockEntry | None,
    source_model: Model | None = None,
    source_folder: Path | None = None,
) -> HeadReport:
    """Check one head: every file against the record, every check of the table above.

    Args:
        head: The catalog's entry.
        folder: Its folder on this machine, or the place it was found at.
        entry: Its record; without one, files are 'unrecorded' and a sound head is ok.
        source_model: The catalog's entry of the model it reads.
        source_folder: That model's folder, where it is here.

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
    verdicts["hidden_size"] = judge_width(sight.config, source_model, source_folder)
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
    subject = subject or str(folder)
    checkpoint = CheckpointFolder(folder)
    contents = {}
    for name in names:
        record = entry.files.get(name) if entry is not None else None
        if record is None:
            problem = "it has no recorded digest to compare with"
            next_step = "`specreg lock CATALOG` records what a catalog keeps in folders."
            raise refusal(checkpoint, subject, name, problem, next_step)
        contents[name] = read_recorded(
            checkpoint, record, name, subject=subject, max_bytes=MAX_HEAD_FILE_BYTES
        )
    return contents
