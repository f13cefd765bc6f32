"""What a catalog says, as frozen records. No I/O, no judgement.

A catalog file names things relative to its own folder. `Source.base` and `Model.base` remember that
folder (an absolute path), so that entries of several catalogs can lie over each other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

HEAD_SEPARATOR = "--to--"

Positive = Annotated[int, Field(gt=0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Record(BaseModel):
    """Base of all records: frozen, strict types, unknown keys refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, populate_by_name=True, defer_build=True
    )


class Source(Record):
    """Where checkpoints come from: a Hub repo, a folder inside a Python package, or a folder.

    Exactly one of `hub`, `package` or a bare `path` says which; `path` beside `package` is the folder
    inside the package.
    """

    hub: str | None = None
    revision: str | None = None
    package: str | None = None
    path: str | None = None
    base: Path | None = Field(default=None, exclude=True, repr=False)


class TokenizerFamily(Record):
    """A tokenizer that several models share. `vocab_size` is its own size, padding rows not counted."""

    vocab_size: Positive | None = None
    fingerprint: str | None = None


class Model(Record):
    """A causal LM. `vocab_size` counts the rows of the output layer, padding included."""

    alias: str
    hub: str | None = None
    revision: str | None = None
    package: str | None = None
    path: str | None = None
    hidden_size: Positive | None = None
    vocab_size: Positive | None = None
    tokenizer: str | None = None
    parameters: Positive | None = None
    license: str | None = None
    gated: bool | None = None
    aliases: tuple[str, ...] = ()
    base: Path | None = Field(default=None, exclude=True, repr=False)


class TrainingSummary(Record):
    """What a trainer_state.json says in short; every part may be missing."""

    steps: Annotated[int, Field(ge=0)] | None = None
    epochs: Annotated[Finite, Field(ge=0)] | None = None
    final_loss: Finite | None = None
    final_kl: Finite | None = None
    final_eval_loss: Finite | None = None
    final_eval_kl: Finite | None = None
    best_eval_loss: Finite | None = None
    best_eval_kl: Finite | None = None
    best_step: Annotated[int, Field(ge=0)] | None = None


class Outlook(Record):
    """How likely a drafted token is kept, by the head's logit and by how sure the model was when it drew the token.

    `c` is the log odds of the row's largest probability at temperature 1. Of a token that the model has read it is
    sigmoid(head * logit + confidence * c + bias); of the one that it has just drawn, which no head has seen yet,
    sigmoid(next_confidence * c + next_bias).
    """

    head: Finite
    confidence: Finite
    bias: Finite
    next_confidence: Finite
    next_bias: Finite


class Calibration(Record):
    """What makes a head's numbers probabilities, fitted on held-out prompts.

    `scale` and `bias` are on the logit of acceptance, by itself. `greedy` and `sampled` say more, each of its way to
    draw: what is to be made of the head and of the model's own confidence together.
    """

    scale: Finite
    bias: Finite
    greedy: Outlook | None = None
    sampled: Outlook | None = None

    def outlook(self, *, greedy: bool) -> Outlook | None:
        """That of one way to draw, if it was fitted."""
        return self.greedy if greedy else self.sampled


class Head(Record):
    """A directed edge source -> target with a run name. Its checkpoint is a folder of `from_`."""

    source: str
    target: str
    run: str
    from_: str = Field(alias="from")
    path: str | None = None
    training: TrainingSummary | None = None
    calibration: Calibration | None = None

    @property
    def edge(self) -> str:
        """`<source>--to--<target>`"""
        return f"{self.source}{HEAD_SEPARATOR}{self.target}"

    @property
    def name(self) -> str:
        """`<source>--to--<target>/<run>`, the name on the command line and the folder in the repo."""
        return f"{self.edge}/{self.run}"

    @property
    def folder(self) -> str:
        """Folder inside its source, `/`-separated: `path` where given, else the published layout."""
        return self.path if self.path is not None else self.name


class Catalog(Record):
    """All entries, names resolved: every head's models and source, every model's tokenizer exist."""

    version: Literal[1] = 1
    sources: dict[str, Source] = Field(default_factory=dict)
    tokenizers: dict[str, TokenizerFamily] = Field(default_factory=dict)
    models: dict[str, Model] = Field(default_factory=dict)
    heads: tuple[Head, ...] = ()


class FileRecord(Record):
    """One file of a checkpoint as the lock records it."""

    size_bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class LockEntry(Record):
    """A pinned checkpoint: the commit it was read at (None outside the Hub), and every file by its name."""

    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    files: dict[str, FileRecord]


Status = Literal["pass", "fail", "unknown"]


class Finding(Record):
    """One compatibility check: what was judged, how it came out, and why."""

    check: str
    subject: str
    status: Status
    detail: str
