"""Verifications that can be told apart."""

from __future__ import annotations

from registry.files.manifest import FileReport
from registry.report import HeadReport
from tests.store.conftest import HEAD


def faulty(detail: str, *, head: str = HEAD) -> HeadReport:
    """A report with one fault, which says `detail`."""
    file = FileReport(path="model.safetensors", status="changed", detail=detail, fault=True)
    return HeadReport(head=head, files=(file,), findings=())


def detail_of(faults: tuple[str, ...]) -> str:
    """What that fault said, as the store kept it."""
    return faults[0].removeprefix("model.safetensors: ")
