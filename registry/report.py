"""What verification found, as records and as the JSON document of `specreg verify --json`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from registry.files.manifest import FileReport
from registry.records import Finding, Record

Standing = Literal["ok", "unrecorded", "fail"]


class _Report(Record):
    files: tuple[FileReport, ...]
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether no file is at fault and no check fails; what is unknown is no fault."""
        return not any(file.fault for file in self.files) and all(f.status != "fail" for f in self.findings)

    @property
    def recorded(self) -> bool:
        """Whether there was a record to hold its files against; without one nothing was verified."""
        return not any(found.check == "record" and found.status == "unknown" for found in self.findings)

    @property
    def standing(self) -> Standing:
        """In one word: 'ok' is what has no fault and is on record."""
        if not self.ok:
            return "fail"
        return "ok" if self.recorded else "unrecorded"

    @property
    def faults(self) -> tuple[str, ...]:
        """Every file at fault and every failed check, in one line each."""
        files = [f"{file.path}: {file.detail}" for file in self.files if file.fault]
        return (
            *files,
            *(f"{found.check}: {found.detail}" for found in self.findings if found.status == "fail"),
        )

    def _json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "files": [file.model_dump() for file in self.files],
            "findings": [finding.model_dump() for finding in self.findings],
        }


class HeadReport(_Report):
    """One head: its files, sorted by path, and every check."""

    head: str

    @property
    def name(self) -> str:
        """`<source>--to--<target>/<run>`"""
        return self.head

    def to_json(self) -> dict[str, Any]:
        """One entry of "heads"."""
        return {"head": self.head, **self._json()}


class ModelReport(_Report):
    """One base model: its files, sorted by path, and every check."""

    model: str

    @property
    def name(self) -> str:
        """The model's alias."""
        return self.model

    def to_json(self) -> dict[str, Any]:
        """One entry of "models"."""
        return {"model": self.model, **self._json()}


def report_json(heads: Iterable[HeadReport], models: Sequence[ModelReport] | None = None) -> dict[str, Any]:
    """The document of `specreg verify --json`; "models" is there when models were looked at."""
    heads = tuple(heads)
    document: dict[str, Any] = {
        "ok": all(report.ok for report in (*heads, *(models or ()))),
        "heads": [report.to_json() for report in heads],
    }
    if models:
        document["models"] = [report.to_json() for report in models]
    return document
