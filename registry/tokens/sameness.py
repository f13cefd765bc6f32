"""Whether an id means the same text, and plays the same role, to two tokenizers. Judged by what their files hold."""

from __future__ import annotations

from registry.records import Status
from registry.tokens.tokenrules import DECODER, SPLITTING
from registry.tokens.vocabulary import Vocabulary


def same_content(
    source_name: str, source: Vocabulary, target_name: str, target: Vocabulary
) -> tuple[Status, str]:
    """An id has to mean the same text, and the same role, to both. Ids that only pad are left out.

    Rules that only cut a text are told where they differ: a text is cut once, by one of the two, and its ids
    mean the same to the other. Where the decoders differ, one piece may be two texts: that is unknown.
    """
    differing = _differing_id(source, target)
    if differing is not None:
        one, other = source.pieces[differing], target.pieces[differing]
        return "fail", f"id {differing} is {one!r} to {source_name} and {other!r} to {target_name}"
    for role, one_id, other_id in (
        ("end", source.eos_id, target.eos_id),
        ("begin", source.bos_id, target.bos_id),
        ("unknown", source.unk_id, target.unk_id),
    ):
        if one_id is not None and other_id is not None and one_id != other_id:
            return "fail", f"the {role} token is id {one_id} to {source_name} and {other_id} to {target_name}"
    lonely = _one_sided(source, target) & (source.special_ids | target.special_ids)
    if lonely:
        count = counted(len(lonely), "special id")
        return "fail", f"{count} in one tokenizer only, the first is {min(lonely)}"
    return _same_ends(source_name, source, target_name, target)


def counted(count: int, noun: str) -> str:
    """`1 id`, `2 ids`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _same_ends(
    source_name: str, source: Vocabulary, target_name: str, target: Vocabulary
) -> tuple[Status, str]:
    told = "; ".join(["the same text for every shared id", *_notes(source, target)])
    for name, vocabulary in ((source_name, source), (target_name, target)):
        if not vocabulary.end_ids:
            return "unknown", f"{told}, but {name} names no end token"
    if source.end_ids.isdisjoint(target.end_ids):
        ends, other_ends = sorted(source.end_ids), sorted(target.end_ids)
        return "fail", f"a text ends with {ends} for {source_name} and with {other_ends} for {target_name}"
    if _differing_rules(source, target, (DECODER,)):
        pieces = "the same piece for every shared id"
        return "unknown", f"{pieces}, but the decoders differ: one piece may be two texts"
    return "pass", told


def _notes(source: Vocabulary, target: Vocabulary) -> list[str]:
    notes = []
    one_sided = _one_sided(source, target)
    if one_sided:
        notes.append(f"{counted(len(one_sided), 'plain id')} in one tokenizer only")
    if source.pad_id != target.pad_id:
        one, other = ("none" if number is None else str(number) for number in (source.pad_id, target.pad_id))
        notes.append(f"same vocabulary, different pad token ({one} and {other})")
    rules = _differing_rules(source, target, SPLITTING)
    if rules:
        notes.append(f"a text may be cut otherwise by each: different {', '.join(rules)}")
    return notes


def _differing_rules(source: Vocabulary, target: Vocabulary, rules: tuple[str, ...]) -> list[str]:
    """Rules that both state, and otherwise."""
    both = (rule for rule in rules if rule in source.rules and rule in target.rules)
    return [rule for rule in both if source.rules[rule] != target.rules[rule]]


def _one_sided(source: Vocabulary, target: Vocabulary) -> set[int]:
    return (source.pieces.keys() ^ target.pieces.keys()) - source.pad_only - target.pad_only


def _differing_id(source: Vocabulary, target: Vocabulary) -> int | None:
    """The least id that both have with different text, padding left out."""
    if source.pieces == target.pieces:
        return None
    shared = source.pieces.keys() & target.pieces.keys()
    different = (number for number in shared if source.pieces[number] != target.pieces[number])
    padding = source.pad_only & target.pad_only
    return min((number for number in different if number not in padding), default=None)
