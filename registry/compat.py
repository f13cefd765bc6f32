"""Judges whether the parts of one edge, and the models of one chain, fit together. Pure: no files.

Every check ends as `pass`, `fail` or `unknown`. What the catalog alone cannot know is `unknown`; what lies
on disk counts for more than what the catalog says.

| check | of | asks |
|---|---|---|
| hidden_size | edge | does the head read hidden states as wide as its source's? |
| depth | edge | do config.json, the stored blocks and the run's name tell one depth? |
| tokenizer | edge, ends | does an id mean the same to both models? |
| vocabulary | edge | do the output layers cover the same ids? |
| ends | chain | does a text end alike for all models? |
| distinct | chain | is every model there once? |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from registry.facts import NOTHING_KNOWN, EdgeFacts
from registry.records import Finding, Head, Model, Status, TokenizerFamily
from registry.runs import parse_run_name
from registry.tokens.sameness import counted, same_content
from registry.tokens.vocabulary import Vocabulary

PADDING_SHARE = 16
"""Rows past the tokenizer count as padding up to one sixteenth of its size (151936 rows for 151669 ids)."""

LIKELY_PADDING_ROWS = 128
"""Tokenizer size unknown: rows that differ by no more than this may well be padding (151936 and 152064)."""

_Verdict = tuple[Status, str]


@dataclass(frozen=True, kw_only=True)
class Side:
    """One model of a pair with all that is known of it."""

    model: Model
    family: TokenizerFamily | None = None
    vocabulary: Vocabulary | None = None
    config_hidden_size: int | None = None
    config_vocab_size: int | None = None

    @property
    def name(self) -> str:
        """The model's alias."""
        return self.model.alias

    @property
    def hidden_sizes(self) -> dict[str, int]:
        """Hidden size by who says so; config.json first."""
        stated = {"its config.json": self.config_hidden_size, "the catalog": self.model.hidden_size}
        return {who: size for who, size in stated.items() if size is not None}

    @property
    def row_counts(self) -> dict[str, int]:
        """Rows of the output layer, padding included, by who says so; config.json first."""
        stated = {"its config.json": self.config_vocab_size, "the catalog": self.model.vocab_size}
        return {who: rows for who, rows in stated.items() if rows is not None}

    @property
    def ids(self) -> int | None:
        """How many ids the tokenizer itself has, one that only pads not counted."""
        if self.vocabulary is not None:
            return max(self.vocabulary.pieces.keys() - self.vocabulary.pad_only, default=-1) + 1
        return None if self.family is None else self.family.vocab_size


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The two ends of an edge, or of a whole chain."""

    source: Side
    target: Side
    facts: EdgeFacts = field(default=NOTHING_KNOWN)


def pair_of(
    source: Model,
    target: Model,
    families: Mapping[str, TokenizerFamily],
    facts: EdgeFacts = NOTHING_KNOWN,
) -> Pair:
    """Join two catalog entries with what is known from disk. `families` are the catalog's tokenizers."""
    return Pair(
        source=Side(
            model=source,
            family=families.get(source.tokenizer or ""),
            vocabulary=facts.source_tokenizer,
            config_hidden_size=facts.source_config_hidden_size,
            config_vocab_size=facts.source_vocab_size,
        ),
        target=Side(
            model=target,
            family=families.get(target.tokenizer or ""),
            vocabulary=facts.target_tokenizer,
            config_hidden_size=facts.target_config_hidden_size,
            config_vocab_size=facts.target_vocab_size,
        ),
        facts=facts,
    )


def judge_edge(head: Head, pair: Pair) -> tuple[Finding, ...]:
    """Judge one head and its two models: hidden_size, depth, tokenizer, vocabulary, in this order."""
    verdicts = {
        "hidden_size": _hidden_size(pair),
        "depth": _depth(pair.facts, head.run),
        "tokenizer": _tokenizer(pair.source, pair.target),
        "vocabulary": _vocabulary(pair.source, pair.target),
    }
    subject = head.name
    return tuple(_finding(check, subject, status, detail) for check, (status, detail) in verdicts.items())


def _finding(check: str, subject: str, status: Status, detail: str) -> Finding:
    # typed here, so not validated again: the first validation of a process costs 30 ms
    return Finding.model_construct(check=check, subject=subject, status=status, detail=detail)


def judge_chain(sides: Sequence[Side]) -> tuple[Finding, ...]:
    """Judge what no single edge shows: ends, the tokenizer of first and last, and that no model repeats.

    `sides` are the chain's models in order. The tokenizer of the ends is judged from three models on.
    """
    subject = " -> ".join(side.name for side in sides)
    verdicts = [("ends", subject, _ends(sides)), ("distinct", subject, _distinct(sides))]
    if len(sides) > 2:
        first, last = sides[0], sides[-1]
        verdicts.insert(0, ("tokenizer", f"{first.name} -> {last.name}", _tokenizer_of_ends(first, last)))
    return tuple(_finding(check, about, status, detail) for check, about, (status, detail) in verdicts)


def _hidden_size(pair: Pair) -> _Verdict:
    found, source, target = pair.facts.head_hidden_size, pair.source, pair.target
    stated = source.hidden_sizes
    if len(set(stated.values())) > 1:
        return "fail", _contradiction(source.name, "hidden sizes", stated)
    if found is None:
        return "unknown", "the head's config.json is not on this machine"
    if not stated:
        return (
            "unknown",
            f"the head reads {found} numbers per token; {source.name}'s hidden size is not known",
        )
    who, expected = next(iter(stated.items()))
    if found == expected:
        return "pass", f"{found}, the hidden size of {source.name} by {who}"
    hint = ""
    if found in target.hidden_sizes.values():
        hint = f"; {found} is the hidden size of {target.name}: the head seems reversed"
    return "fail", f"expected {expected}, the hidden size of {source.name}, got {found}{hint}"


def _depth(facts: EdgeFacts, run: str) -> _Verdict:
    named = depth_in_run(run)
    stated = {
        "config.json says": facts.head_layers,
        "the weights hold": facts.stored_layers,
        "the run's name says": named,
    }
    known = {who: depth for who, depth in stated.items() if depth is not None}
    told = ", ".join(f"{who} {depth}" for who, depth in known.items())
    if len(set(known.values())) > 1:
        return "fail", f"residual blocks do not agree: {told}"
    if facts.head_layers is None:
        return "unknown", "the head's config.json is not on this machine"
    if facts.stored_layers is None:
        return "unknown", f"{told}; the blocks in the weights are not counted yet"
    return "pass", f"{facts.head_layers} residual blocks: {told}"


def depth_in_run(run: str) -> int | None:
    """Residual blocks that a run's name states.

    >>> depth_in_run("exp-weight6-layer3"), depth_in_run("baseline")
    (3, None)
    """
    return parse_run_name(run).layers


def _tokenizer(source: Side, target: Side) -> _Verdict:
    if source.vocabulary is not None and target.vocabulary is not None:
        return same_content(source.name, source.vocabulary, target.name, target.vocabulary)
    return _same_family(source, target)


def _tokenizer_of_ends(first: Side, last: Side) -> _Verdict:
    """Families that differ are left to the edges, where content may have shown two of them to be one."""
    status, detail = _tokenizer(first, last)
    if status == "fail" and (first.vocabulary is None or last.vocabulary is None):
        return "unknown", f"{detail}; each edge between is judged by itself"
    return status, detail


def _same_family(source: Side, target: Side) -> _Verdict:
    for side in (source, target):
        stated = None if side.family is None else side.family.fingerprint
        if stated is not None and side.vocabulary is not None and side.vocabulary.fingerprint != stated:
            family = side.model.tokenizer
            return "unknown", f"the tokenizer in {side.name}'s folder is not the catalog's {family!r}"
    one, other = source.model.tokenizer, target.model.tokenizer
    if one is None or other is None:
        missing = source.name if one is None else target.name
        return "unknown", f"the catalog names no tokenizer for {missing}, and its files are not here"
    if one == other:
        return "pass", f"both of the family {one!r}, by the catalog"
    prints = {side.family.fingerprint if side.family else None for side in (source, target)}
    if len(prints) == 1 and None not in prints:
        return "pass", f"the families {one!r} and {other!r} bear one fingerprint"
    return "fail", f"expected one tokenizer, got {one!r} for {source.name} and {other!r} for {target.name}"


def _vocabulary(source: Side, target: Side) -> _Verdict:
    rows: list[int] = []
    for side in (source, target):
        stated = side.row_counts
        if not stated:
            return "unknown", f"the rows of {side.name}'s output layer are not known"
        if len(set(stated.values())) > 1:
            return "fail", _contradiction(side.name, "vocabulary sizes", stated)
        rows.append(next(iter(stated.values())))
    ids = max((side.ids for side in (source, target) if side.ids is not None), default=None)
    if ids is not None and min(rows) < ids:
        short = source.name if rows[0] <= rows[1] else target.name
        return "fail", f"{short} has {min(rows)} rows of output for a tokenizer of {ids} ids"
    if rows[0] == rows[1]:
        return "pass", f"{rows[0]} rows each"
    return _unequal_rows(rows[0], rows[1], ids)


def _unequal_rows(source_rows: int, target_rows: int, ids: int | None) -> _Verdict:
    told = f"{source_rows} rows against {target_rows}"
    if ids is None:
        if abs(source_rows - target_rows) <= LIKELY_PADDING_ROWS:
            return "unknown", f"{told}: padding perhaps; the tokenizer's size is not known"
        return "fail", f"expected as many rows of output, got {told}"
    if max(source_rows, target_rows) > ids + ids // PADDING_SHARE:
        return "fail", f"{told}: more than padding past the tokenizer's {ids} ids"
    return "pass", f"{told}: padding past the tokenizer's {ids} ids"


def _contradiction(name: str, what: str, stated: Mapping[str, int]) -> str:
    told = " but ".join(f"{who} says {size}" for who, size in stated.items())
    return f"{name} has two {what}: {told}; correct the catalog or the folder"


def _ends(sides: Sequence[Side]) -> _Verdict:
    """By content where two or more tokenizers are here; by family for the rest."""
    stated = {side.name: side.vocabulary for side in sides if side.vocabulary is not None}
    known = {name: vocabulary for name, vocabulary in stated.items() if vocabulary.eos_id is not None}
    told = ", ".join(f"{vocabulary.eos_id} for {name}" for name, vocabulary in known.items())
    if len({vocabulary.eos_id for vocabulary in known.values()}) > 1:
        return "fail", f"expected one end token, got {told}"
    if known and len(known) == len(sides):
        return "pass", f"one end token, id {next(iter(known.values())).eos_id}{_more_ends(known)}"
    families = {side.model.tokenizer for side in sides}
    if len(families) == 1 and None not in families:
        return "pass", f"one tokenizer family, {families.pop()!r}, by the catalog"
    missing = ", ".join(side.name for side in sides if side.name not in known)
    return "unknown", f"the end token is not known for {missing}"


def _more_ends(known: Mapping[str, Vocabulary]) -> str:
    if len({vocabulary.end_ids for vocabulary in known.values()}) == 1:
        return ""
    return "; the further ids that end a text differ"


def _distinct(sides: Sequence[Side]) -> _Verdict:
    names = [side.name for side in sides]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        return "fail", f"expected every model once, got {', '.join(repeated)} again"
    return "pass", f"{counted(len(names), 'model')}, each once"
