"""The rules of a tokenizer.json besides its ids: how text is split into pieces, and pieces made text again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

SPLITTING: Final = ("normaliser", "pre-tokenizer", "merges")
"""Rules that only decide how a text is cut: the ids mean the same where these differ."""

DECODER: Final = "decoder"
"""The rule that makes text of pieces: where it differs, one piece may be two texts."""


def token_rules(document: Mapping[str, Any]) -> dict[str, str]:
    """Rule -> digest, for each rule that a tokenizer.json can state; what it leaves out counts as none.

    The digest does not change with the order of keys, with a default that is spelled out as null or false, or
    with one of the two ways merges are written.

    >>> one = token_rules({"model": {"merges": ["a b"]}, "normalizer": None})
    >>> one == token_rules({"model": {"merges": [["a", "b"]], "dropout": None}})
    True
    """
    model = document.get("model")
    return {
        "normaliser": _digest(document.get("normalizer")),
        "pre-tokenizer": _digest(document.get("pre_tokenizer")),
        "merges": _digest(_split(model) if isinstance(model, dict) else None),
        DECODER: _digest(_decoder(document.get("decoder"))),
    }


def _split(model: dict[str, Any]) -> dict[str, Any]:
    """What of a model decides the cut: its options, BPE's merges in order, Unigram's scores."""
    options = {key: value for key, value in model.items() if key not in ("vocab", "merges")}
    merges, vocab = model.get("merges"), model.get("vocab")
    if isinstance(merges, list):
        options["merges"] = [_pair(merge) for merge in merges]
    if isinstance(vocab, list):
        options["scores"] = vocab
    return options


def _pair(merge: object) -> object:
    return merge.split(" ", 1) if isinstance(merge, str) else merge


def _decoder(rule: Any) -> Any:
    """A byte-level decoder reads none of its options."""
    if not isinstance(rule, dict):
        return rule
    if rule.get("type") == "ByteLevel":
        return {"type": "ByteLevel"}
    if isinstance(rule.get("decoders"), list):
        return {**rule, "decoders": [_decoder(part) for part in rule["decoders"]]}
    return rule


def _stated(value: Any) -> Any:
    """The same without keys that say null or false."""
    if isinstance(value, dict):
        return {key: _stated(part) for key, part in value.items() if part is not None and part is not False}
    return [_stated(part) for part in value] if isinstance(value, list) else value


def _digest(rule: Any) -> str:
    text = json.dumps(_stated(rule), sort_keys=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
