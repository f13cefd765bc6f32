"""The fields of a catalog, in one table: what the loader checks and the JSON Schema says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

LARGEST_INT: Final = 2**63 - 1
# Control characters, and those that take no room, turn the direction of text or break lines.
_UNSEEN: Final = (
    r"\x00-\x1f\x7f-\xa0\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202f\u2060-\u206f"
    r"\ud800-\udfff\ufeff\ufff0-\uffff"
)


@dataclass(frozen=True, kw_only=True)
class Text:
    """Text that matches `pattern` as a whole. `expected` says in words what that is."""

    pattern: str
    expected: str
    longest: int

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        return re.compile(self.pattern)

    def accepts(self, text: str) -> bool:
        return len(text) <= self.longest and self._regex.fullmatch(text) is not None


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A whole number from `least` to LARGEST_INT, or exactly `only`."""

    least: int = 0
    only: int | None = None


@dataclass(frozen=True, kw_only=True)
class Real:
    """A finite number, not below `least`."""

    least: float | None = None


@dataclass(frozen=True, kw_only=True)
class Flag:
    """true or false."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A list of text, no item twice."""

    item: Text


@dataclass(frozen=True, kw_only=True)
class Table:
    """A mapping with known keys. Of the keys in `places`, `fewest` to one may say where an entry lies."""

    name: str
    about: str
    fields: Mapping[str, Field]
    places: bool = False
    fewest: int = 0


Kind = Text | Whole | Real | Flag | Listing | Table


@dataclass(frozen=True, kw_only=True)
class Field:
    """One key of a table."""

    kind: Kind
    about: str
    required: bool = False


_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.)(?!$))*"
NAME = Text(
    pattern=_WORD,
    expected="a name of letters, digits, '.', '_' and '-' that starts with a letter or digit, without '..'",
    longest=96,
)
ALIAS = Text(
    pattern=rf"(?!(?:.*--)?[Tt][Oo]--)(?!.*--[Tt][Oo]$){_WORD}",
    expected=f"{NAME.expected} and without the '--to--' that joins two of them",
    longest=96,
)
_REPO_PART = r"[A-Za-z0-9](?:[A-Za-z0-9_]|-(?![-/]|$)|\.(?![./]|$))*"
REPO = Text(
    pattern=rf"(?!.*\.git$){_REPO_PART}/{_REPO_PART}",
    expected="a Hub repository id, 'owner/name'",
    longest=96,
)
REVISION = Text(
    pattern=r"(?!.*\.lock(?:/|$))[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?![./]|$)|/(?![./-]|$))*",
    expected="a branch, a tag or a 40-digit commit",
    longest=100,
)
PACKAGE = Text(
    pattern=r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*",
    expected="a Python package name",
    longest=200,
)
_PATH_PART = rf"(?!\.\.?(?:/|$))[^/\\:{_UNSEEN}]+"
PATH = Text(
    pattern=rf"(?!~)(?:\.|(?:\./)?{_PATH_PART}(?:/{_PATH_PART})*)/?",
    expected="a relative path with '/' between its parts and no '..', drive or backslash",
    longest=512,
)
_PROSE = Text(
    pattern=rf"[^\s{_UNSEEN}](?:[^{_UNSEEN}]*[^\s{_UNSEEN}])?",
    expected="one line of text without blanks around it",
    longest=200,
)

_PLACE_FIELDS: Final = {
    "hub": Field(kind=REPO, about="Hub repository id, owner/name."),
    "revision": Field(
        kind=REVISION, about="Branch, tag or commit of the Hub repository; main when left out."
    ),
    "package": Field(kind=PACKAGE, about="Python package that holds the files."),
    "path": Field(kind=PATH, about="Folder, relative to this file; beside `package`, the folder inside it."),
}
SOURCE = Table(
    name="source",
    about="Where checkpoints come from: a Hub repository, a folder in a Python package, or a folder.",
    fields=_PLACE_FIELDS,
    places=True,
    fewest=1,
)
TOKENIZER = Table(
    name="tokenizer",
    about="A tokenizer that several models share.",
    fields={
        "vocab_size": Field(kind=Whole(least=1), about="The tokenizer's own size, padding rows not counted."),
        "fingerprint": Field(kind=_PROSE, about="Fingerprint of the tokenizer, when known."),
    },
)
MODEL = Table(
    name="model",
    about="A causal language model. Every key may be left out.",
    fields={
        **_PLACE_FIELDS,
        "hidden_size": Field(kind=Whole(least=1), about="Width of the last hidden state."),
        "vocab_size": Field(kind=Whole(least=1), about="Rows of the output layer, padding included."),
        "tokenizer": Field(kind=NAME, about="Name of its tokenizer in `tokenizers`."),
        "parameters": Field(kind=Whole(least=1), about="Number of parameters, tied ones counted once."),
        "license": Field(kind=_PROSE, about="License identifier as the Hub writes it."),
        "gated": Field(kind=Flag(), about="Whether the Hub asks for consent before a download."),
        "aliases": Field(kind=Listing(item=ALIAS), about="Other names it answers to."),
    },
    places=True,
)
_STEP = Whole()
_NUMBER = Real()
TRAINING = Table(
    name="training",
    about="What the head's trainer_state.json says in short; the file, where present and verified, wins.",
    fields={
        "steps": Field(kind=_STEP, about="Optimizer steps."),
        "epochs": Field(kind=Real(least=0), about="Epochs trained."),
        "final_loss": Field(kind=_NUMBER, about="Last training loss logged."),
        "final_kl": Field(kind=_NUMBER, about="Last training KL logged, in nats."),
        "final_eval_loss": Field(kind=_NUMBER, about="Last evaluation loss."),
        "final_eval_kl": Field(kind=_NUMBER, about="Last evaluation KL, in nats."),
        "best_eval_loss": Field(kind=_NUMBER, about="Lowest evaluation loss."),
        "best_eval_kl": Field(kind=_NUMBER, about="Lowest evaluation KL, in nats."),
        "best_step": Field(kind=_STEP, about="Step of the best evaluation."),
    },
)
OUTLOOK = Table(
    name="outlook",
    about="What is made of a head's logit and the model's confidence together, for one way to draw.",
    fields={
        "head": Field(kind=_NUMBER, about="Factor on the logit, of a token that was read.", required=True),
        "confidence": Field(kind=_NUMBER, about="Factor on the confidence it was drawn with.", required=True),
        "bias": Field(kind=_NUMBER, about="Added to both.", required=True),
        "next_confidence": Field(
            kind=_NUMBER, about="Factor on the confidence, of a token just drawn.", required=True
        ),
        "next_bias": Field(kind=_NUMBER, about="Added to that.", required=True),
    },
)
CALIBRATION = Table(
    name="calibration",
    about="What makes a head's numbers probabilities, fitted on held-out prompts.",
    fields={
        "scale": Field(kind=_NUMBER, about="Factor on the logit.", required=True),
        "bias": Field(kind=_NUMBER, about="Added to the scaled logit.", required=True),
        "greedy": Field(kind=OUTLOOK, about="With the model's confidence, at temperature 0."),
        "sampled": Field(kind=OUTLOOK, about="With the model's confidence, above temperature 0."),
    },
)
HEAD = Table(
    name="head",
    about="A directed edge source -> target with a run name.",
    fields={
        "source": Field(kind=ALIAS, about="Alias of the model whose hidden state is read.", required=True),
        "target": Field(kind=ALIAS, about="Alias of the model that accepts or rejects.", required=True),
        "run": Field(kind=NAME, about="Name of the training run.", required=True),
        "from": Field(kind=NAME, about="Name of its source in `sources`.", required=True),
        "path": Field(kind=PATH, about="Folder in its source; <source>--to--<target>/<run> when left out."),
        "training": Field(kind=TRAINING, about=TRAINING.about),
        "calibration": Field(kind=CALIBRATION, about=CALIBRATION.about),
    },
)
VERSION = Whole(only=1)
SECTIONS: Final[Mapping[str, tuple[Text, Table, str]]] = {
    "sources": (NAME, SOURCE, "Where checkpoints come from, by name."),
    "tokenizers": (NAME, TOKENIZER, "Tokenizers, by name."),
    "models": (ALIAS, MODEL, "Models, by alias."),
}
