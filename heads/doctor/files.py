"""Whether the files of a chain's members are those on record, and whether a head's weights are those of another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from heads.doctor.check import Check
from heads.doctor.remedy import as_recorded, on_record, put_right
from heads.models import SAFETENSORS
from registry.chains import Chain
from registry.files.filenames import WEIGHTS
from registry.records import HEAD_SEPARATOR, Head, LockEntry, Model
from registry.report import HeadReport, ModelReport
from registry.shelf import Shelf

TOLD_BY_FIT = {"hidden_size", "depth", "tokenizer", "vocabulary"}


def judge_files(shelf: Shelf, chain: Chain) -> Iterator[Check]:
    """One line for each model and head; where something is at fault, one for each file, or each number of its files."""
    for model in chain.models:
        yield from _report(shelf, model, shelf.verify_model(model))
    for head in chain.heads:
        if shelf.head_place(head).folder is None:
            yield Check(
                check="files",
                subject=head.name,
                status="unknown",
                found="not on this machine; the edge is looked at without a head",
                next=put_right(shelf, head),
            )
            continue
        yield from _report(shelf, head, shelf.verify_head(head))
        yield from _copied(shelf, head)


def told_once(checks: Sequence[Check], loading: Sequence[Check]) -> Iterator[Check]:
    """What loading tells, where the files of some were found at fault before: that these are left out, and no more."""
    spoilt = {one.subject for one in checks if one.check == "files" and one.status == "fault"}
    for one in loading:
        if one.subject not in spoilt:
            yield one
            continue
        what = "its edge" if HEAD_SEPARATOR in one.subject else "the rest"
        yield Check(
            check=one.check,
            subject=one.subject,
            status="unknown",
            found=f"not loaded, since its files are at fault; {what} is looked at without it, where `decode` would end",
        )


def _report(shelf: Shelf, member: Head | Model, report: HeadReport | ModelReport) -> Iterator[Check]:
    faults = [f"{file.path}: {file.detail}" for file in report.files if file.fault]
    if not faults:  # what a file holds that is not the recorded one follows from that
        faults = [
            f"{found.check}: {found.detail}"
            for found in report.findings
            if found.status == "fail" and found.check not in TOLD_BY_FIT
        ]
    if not faults and not report.recorded:
        yield Check(
            check="files",
            subject=report.name,
            status="fault",
            found="no record to hold its files against",
            expected="size and sha256 of every file on record",
            cause="it was never recorded, and nothing is loaded without a record",
            next=on_record(shelf, member),
        )
    elif not faults:
        count = len(report.files)
        yield Check(check="files", subject=report.name, status="ok", found=f"{count} files, as recorded")
    for fault in faults:
        yield Check(
            check="files",
            subject=report.name,
            status="fault",
            found=fault,
            expected="what its record and its config.json say",
            cause="a damaged download, or a checkpoint that was changed after it was recorded",
            next=as_recorded(shelf, member),
        )


def _copied(shelf: Shelf, head: Head) -> Iterator[Check]:
    """A head's weights under the name of an edge between other models: a folder was copied to a wrong place."""
    mine = shelf.lock.heads.get(head.name)
    digest = None if mine is None or WEIGHTS not in mine.files else mine.files[WEIGHTS].sha256
    for name, entry in sorted(shelf.lock.heads.items()):
        if digest is None or WEIGHTS not in entry.files or entry.files[WEIGHTS].sha256 != digest:
            continue
        source, _, target = name.rpartition("/")[0].partition(HEAD_SEPARATOR)
        ends = ((head.source, source), (head.target, target))
        if any(same_model(shelf, one, other) is False for one, other in ends):
            yield Check(
                check="copy",
                subject=head.name,
                status="fault",
                found=f"its weights are, byte for byte, those recorded as {name}",
                expected="weights of its own",
                cause="a wrong head, or two that were exchanged: the folder of another edge was copied here",
                next=put_right(shelf, head),
            )


def same_model(shelf: Shelf, one: str, other: str) -> bool | None:
    """Whether two aliases are one model; None where nothing tells."""
    if one == other:
        return True
    weights = [_weights(shelf.lock.models.get(name)) for name in (one, other)]
    if all(weights):
        return weights[0] == weights[1]
    known = [shelf.catalog.models.get(name) for name in (one, other)]
    hubs = [None if model is None else model.hub for model in known]
    return None if None in hubs else hubs[0] == hubs[1]


def _weights(entry: LockEntry | None) -> frozenset[str]:
    files = {} if entry is None else entry.files
    return frozenset(record.sha256 for name, record in files.items() if name.endswith(SAFETENSORS))
