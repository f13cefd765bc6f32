"""A folder's files against their record: every file, every fault, each file read once."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Literal, TypeVar

from pydantic import Field

from registry.errors import CheckpointError
from registry.files.folder import CheckpointFolder, HashedFile, shown_name
from registry.records import FileRecord, LockEntry, Record, Status

HASHING_THREADS: Final = 2
SOUND: Final = frozenset({"ok", "unrecorded"})
PICKLE_SUFFIXES: Final = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
AGAIN: Final = "Download it again, or report the record if this repeats."
PICKLE_DETAIL: Final = "a pickle: not loaded; specreg never unpickles here"

FileStatus = Literal["ok", "changed", "missing", "extra", "unrecorded", "unreadable", "invalid"]
Content = TypeVar("Content", bytes, memoryview)
Inspector = Callable[[HashedFile], object]
"""Reads what it wants of a file that is being hashed; raises CheckpointError for content it refuses."""


class FileReport(Record):
    """One file and how it compares with its record; with a `fault`, the checkpoint is unsound."""

    path: str
    status: FileStatus
    detail: str
    fault: bool = Field(exclude=True)


def check_files(
    folder: CheckpointFolder,
    entry: LockEntry | None,
    *,
    inspector_of: Callable[[str], Inspector | None],
    harmless: Callable[[str], bool],
    max_bytes: int,
) -> tuple[FileReport, ...]:
    """Compare every file with its record, two at a time, and let inspectors see the bytes that are hashed.

    Args:
        folder: What is on this machine.
        entry: The record; None leaves every file 'unrecorded', and reads only those with an inspector.
        inspector_of: File name -> who looks into it, if anyone.
        harmless: Names whose absence, or presence without a record, is no fault.
        max_bytes: Larger files are refused unread.

    Returns:
        One report per file here or recorded, sorted by path.
    """
    try:
        here = folder.names()
    except (OSError, CheckpointError) as error:
        return (_report(".", "unreadable", _reason(error)),)
    records = entry.files if entry is not None else {}
    here_set = frozenset(here)
    gone = [_missing(name, harmless) for name in records if name not in here_set]

    def check(name: str) -> FileReport:
        if entry is not None and name not in records:
            return _not_recorded(name, harmless)
        return _check_file(folder, name, records.get(name), inspector_of(name), max_bytes)

    largest_first = sorted(here, key=lambda name: -records[name].size_bytes if name in records else 0)
    with ThreadPoolExecutor(HASHING_THREADS) as pool:
        reports = list(pool.map(check, largest_first))
    return tuple(sorted(reports + gone, key=lambda report: report.path))


def read_recorded(
    folder: CheckpointFolder, record: FileRecord, name: str, *, subject: str, max_bytes: int
) -> bytes:
    """The bytes of one file; arguments and errors as for `take_recorded`."""
    return take_recorded(HashedFile.read_all, folder, record, name, subject=subject, max_bytes=max_bytes)


def take_recorded(
    read: Callable[[HashedFile], Content],
    folder: CheckpointFolder,
    record: FileRecord,
    name: str,
    *,
    subject: str,
    max_bytes: int,
    next_step: str = AGAIN,
) -> Content:
    """The bytes of one file as `read` takes them, which are the bytes that were hashed and compared.

    `next_step` is what the error tells to do about a file that differs.

    Raises:
        CheckpointError: the file is missing, unreadable, no regular file, or not what its record says.
    """
    try:
        with folder.open(name) as file:
            if record.size_bytes > max_bytes:
                raise refusal(
                    folder, subject, name, f"{record.size_bytes} bytes, at most {max_bytes} are read"
                )
            if file.size_bytes != record.size_bytes:
                raise _differs(folder, subject, name, _sizes(record, file), next_step)
            content = read(file)
            digest = file.sha256()
    except OSError as error:
        raise refusal(folder, subject, name, _reason(error)) from error
    if digest != record.sha256:
        raise _differs(folder, subject, name, f"expected sha256 {record.sha256}, got {digest}", next_step)
    return content


def refusal(
    folder: CheckpointFolder, subject: str, name: str, problem: str, next_step: str = "Download it again."
) -> CheckpointError:
    """The error that says why one file was not loaded."""
    return CheckpointError(
        f"{name} of {subject} is refused: {problem}. Nothing was loaded. {next_step}",
        path=str(folder.path / name),
        problems=[problem],
    )


def required(names: Sequence[str], reports: Sequence[FileReport]) -> tuple[FileReport, ...]:
    """The reports, with one for each named file that is neither here nor recorded."""
    told = {report.path for report in reports}
    missing = [_report(name, "missing", "needed, but not here") for name in names if name not in told]
    return tuple(sorted([*reports, *missing], key=lambda report: report.path))


def judge_record(
    reports: Sequence[FileReport], entry: LockEntry | None, refused: Container[str]
) -> tuple[Status, str]:
    """Whether all files match the record; a recorded file whose content is `refused` does match it."""
    if entry is None:
        return "unknown", "no recorded digest"
    faults = [
        f"{report.path} {report.status}"
        for report in reports
        if report.fault and not (report.status == "invalid" and report.path in refused)
    ]
    if faults:
        return "fail", f"not as recorded: {', '.join(faults)}"
    return "pass", "every file as recorded"


def _check_file(
    folder: CheckpointFolder, name: str, record: FileRecord | None, inspect: Inspector | None, max_bytes: int
) -> FileReport:
    status: FileStatus
    try:
        with folder.open(name) as file:
            status, detail = _judge(file, record, inspect, max_bytes)
    except FileNotFoundError:
        status, detail = "missing", "a link to a file that is gone"
    except CheckpointError as error:
        status, detail = "invalid", _reason(error)
    except OSError as error:
        status, detail = "unreadable", _reason(error)
    if status in SOUND and name.endswith(PICKLE_SUFFIXES):
        detail = f"{detail}; {PICKLE_DETAIL}"
    return _report(name, status, detail, fault=status not in SOUND)


def _judge(
    file: HashedFile, record: FileRecord | None, inspect: Inspector | None, max_bytes: int
) -> tuple[FileStatus, str]:
    if record is not None and file.size_bytes != record.size_bytes:
        return "changed", _sizes(record, file)
    if file.size_bytes > max_bytes:
        return "invalid", f"{file.size_bytes} bytes, at most {max_bytes} are read"
    problem = ""
    if inspect is not None:
        try:
            inspect(file)
        except CheckpointError as error:
            problem = _reason(error)
    if record is not None and file.sha256() != record.sha256:
        return "changed", f"expected sha256 {record.sha256}, got {file.sha256()}"
    if problem:
        return "invalid", problem
    return ("unrecorded", "no recorded digest") if record is None else ("ok", "size and sha256 as recorded")


def _missing(name: str, harmless: Callable[[str], bool]) -> FileReport:
    if harmless(name):
        return _report(name, "missing", "recorded, but nothing needs it", fault=False)
    return _report(name, "missing", "recorded, but not here")


def _not_recorded(name: str, harmless: Callable[[str], bool]) -> FileReport:
    if harmless(name):
        return _report(name, "unrecorded", "no recorded digest, but nothing reads it", fault=False)
    return _report(name, "extra", "here, but not in the record")


def _report(name: str, status: FileStatus, detail: str, *, fault: bool = True) -> FileReport:
    return FileReport(path=shown_name(name), status=status, detail=detail, fault=fault)


def _sizes(record: FileRecord, file: HashedFile) -> str:
    return f"expected {record.size_bytes} bytes, got {file.size_bytes}"


def _reason(error: OSError | CheckpointError) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return "; ".join(error.problems) or str(error)


def _differs(folder: CheckpointFolder, subject: str, name: str, how: str, next_step: str) -> CheckpointError:
    return CheckpointError(
        f"{name} of {subject} differs from its record: {how}. Nothing was loaded. {next_step}",
        path=str(folder.path / name),
        problems=[how],
    )
