"""Every error specreg raises on purpose.

```text
SpecregError                    exit 1: a fault was found
├── UnknownNameError            no model, head or run of that name
├── NoChainError                no chain of heads joins the two models
├── IncompatibleError           two things do not fit: hidden size, tokenizer, vocabulary
├── CheckpointError             a stored head or model is not what its config or record says
├── ShapeError                  tensors handed to a function do not agree
└── UsageError                  exit 2: wrong usage, or we could not look
    ├── CatalogError            a catalog cannot be read, or breaks its schema: every fault listed
    ├── NotInstalledError       the files are not on this machine
    ├── RecordingError          checkpoints that were to be recorded cannot be read: every problem listed
    ├── HubError                the Hub could not be asked, or did not answer as it should
    ├── StoreError              the store of what is here and was verified cannot be used
    ├── RollbackError           this model's cache cannot be rolled back
    └── GenerationError         a decoding option is out of range
```

Each error keeps its facts as fields; `str(error)` is one sentence for people: what, expected, got,
next step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

HubReason = Literal[
    "offline", "unreachable", "timeout", "broken", "stuck", "held", "disk", "answer", "busy", "server",
    "repository", "private", "moved", "revision", "file", "gated", "token", "unsendable", "forbidden",
    "stopped",
]  # fmt: skip

StoreReason = Literal["locked", "read-only", "full", "corrupted", "newer", "unreachable", "address", "other"]


class SpecregError(Exception):
    """Root of the tree. `exit_code` is what the command line ends with."""

    exit_code: int = 1


class UsageError(SpecregError):
    """The request is wrong, or the answer could not be looked up."""

    exit_code = 2


class UnknownNameError(SpecregError):
    """No entry bears this name.

    Fields: kind ('model', 'head', 'run' ...), name, suggestions (nearest known names).
    """

    def __init__(
        self,
        *,
        kind: str,
        name: str,
        suggestions: Sequence[str] = (),
        next_step: str = "`specreg list` shows all that the catalog holds.",
    ) -> None:
        self.kind = kind
        self.name = name
        self.suggestions = tuple(suggestions)
        hint = f" Did you mean {_listed(self.suggestions)}?" if self.suggestions else ""
        super().__init__(f"No {kind} is called {name!r}.{hint} {next_step}")


class NoChainError(SpecregError):
    """No chain of heads leads from source to target.

    Fields: source, target (aliases), reason ('no path', 'other way round', 'refused',
    'narrowed'), reaches (what the source does reach), reached_from (what reaches the target),
    refusals (one per refused candidate chain).
    """

    def __init__(
        self,
        message: str,
        *,
        source: str,
        target: str,
        reason: str,
        reaches: Sequence[str] = (),
        reached_from: Sequence[str] = (),
        refusals: Sequence[object] = (),
    ) -> None:
        self.source = source
        self.target = target
        self.reason = reason
        self.reaches = tuple(reaches)
        self.reached_from = tuple(reached_from)
        self.refusals = tuple(refusals)
        super().__init__(message)


class IncompatibleError(SpecregError):
    """Two parts do not fit. Fields: field, expected, found, subject."""

    def __init__(self, *, subject: str, field: str, expected: object, found: object, next_step: str) -> None:
        self.subject = subject
        self.field = field
        self.expected = expected
        self.found = found
        super().__init__(f"{subject}: {field} does not fit: expected {expected}, got {found}. {next_step}")


class CheckpointError(SpecregError):
    """A stored file is not what its config or its record says. Fields: path, problems."""

    def __init__(self, message: str, *, path: str, problems: Sequence[str] = ()) -> None:
        self.path = path
        self.problems = tuple(problems)
        super().__init__(message)


class ShapeError(SpecregError):
    """Tensors handed to a function do not agree. Fields: expected, found."""

    def __init__(self, message: str, *, expected: object, found: object) -> None:
        self.expected = expected
        self.found = found
        super().__init__(message)


@dataclass(frozen=True, kw_only=True)
class CatalogFault:
    """One fault of a catalog: where it stands and what is wrong."""

    file: str
    line: int | None
    path: str
    problem: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.path}: {self.problem}" if self.path else f"{place}: {self.problem}"


class CatalogError(UsageError):
    """A catalog cannot be used. Field: faults, all of them, in the order of the file."""

    def __init__(self, faults: Sequence[CatalogFault]) -> None:
        self.faults = tuple(faults)
        count = len(self.faults)
        head = "1 fault in the catalog" if count == 1 else f"{count} faults in the catalog"
        super().__init__("\n".join([f"{head}:", *(f"  {fault}" for fault in self.faults)]))


class NotInstalledError(UsageError):
    """Files are not on this machine. Fields: subject (one name, or several of them in one text), next_step."""

    def __init__(self, *, subject: str | Sequence[str], where: str, next_step: str) -> None:
        names = [subject] if isinstance(subject, str) else list(subject)
        self.subject = ", ".join(names)
        self.where = where
        self.next_step = next_step
        be = "is" if len(names) == 1 else "are"
        super().__init__(f"{self.subject} {be} not on this machine (looked in {where}). {next_step}")


class RecordingError(UsageError):
    """Checkpoints that were to be recorded cannot be read, and nothing was written. Field: problems, all of them."""

    def __init__(self, problems: Sequence[SpecregError]) -> None:
        self.problems = tuple(problems)
        listed = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(f"{len(self.problems)} problems; nothing was written:\n{listed}")


class HubError(UsageError):
    """The Hub could not be asked, or did not answer as it should. Fields: reason, endpoint, repo."""

    def __init__(self, message: str, *, reason: HubReason, endpoint: str, repo: str = "") -> None:
        self.reason = reason
        self.endpoint = endpoint
        self.repo = repo
        super().__init__(message)


class StoreError(UsageError):
    """The store cannot be used. Fields: reason, store (its path, or its URL without the password)."""

    def __init__(self, message: str, *, reason: StoreReason, store: str) -> None:
        self.reason = reason
        self.store = store
        super().__init__(message)


class RollbackError(UsageError):
    """A model's cache cannot be rolled back, so it cannot stand in a cascade."""


class GenerationError(UsageError):
    """A decoding option is out of range. Fields: option, expected, found."""

    def __init__(self, *, option: str, expected: str, found: object, next_step: str = "") -> None:
        self.option = option
        self.expected = expected
        self.found = found
        super().__init__(f"{option} must be {expected}, got {found!r}.{' ' + next_step if next_step else ''}")


def _listed(names: Sequence[str]) -> str:
    quoted = [f"'{name}'" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
