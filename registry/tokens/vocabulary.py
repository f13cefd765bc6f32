"""What a tokenizer's files say of its ids, read without any tokenizer library.

Reads `tokenizer.json` (BPE, WordPiece, WordLevel and Unigram models, and added tokens), or in its absence
`tokenizer.model` or `vocab.json` with `added_tokens.json`; and for the special tokens
`tokenizer_config.json`, `special_tokens_map.json` and `generation_config.json`. A model's own
`config.json` is not asked: published ones misstate these ids.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from registry.errors import CheckpointError
from registry.files.jsonfile import Reader, parse_object, read_object, read_whole, unusable
from registry.files.strictjson import shown
from registry.tokens.piecemodel import read_piece_model
from registry.tokens.tokenrules import token_rules

TOKENIZER_LIMIT_BYTES = 64 * 2**20
SIDE_FILE_LIMIT_BYTES = 8 * 2**20
LARGEST_ID = 2**24
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "added_tokens.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
)

_KEPT = 4
_PARSED: dict[bytes, tuple[dict[int, str], set[int], dict[str, str]]] = {}
_NEXT = "Download the model's tokenizer files again."


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Ids and their pieces as stored, and the ids with a meaning of their own.

    `special_ids` are those flagged special or named as one; `end_ids` are those that end a text: the end
    token, and what generation_config.json adds. An id that the files do not state is None. `rules` holds
    digests of what tokenizer.json says besides; it is empty where there is none.
    """

    pieces: Mapping[int, str]
    special_ids: frozenset[int] = frozenset()
    eos_id: int | None = None
    bos_id: int | None = None
    pad_id: int | None = None
    unk_id: int | None = None
    end_ids: frozenset[int] = field(default=frozenset())
    rules: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def size(self) -> int:
        """One past the largest id."""
        return max(self.pieces, default=-1) + 1

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) over one line `id<TAB>piece` per id, ascending; the piece as an ASCII JSON string."""
        digest = hashlib.sha256()
        for number in sorted(self.pieces):
            digest.update(f"{number}\t{json.dumps(self.pieces[number])}\n".encode("ascii"))
        return digest.hexdigest()

    @property
    def pad_only(self) -> frozenset[int]:
        """The pad id where it serves for padding alone, else nothing."""
        others = {self.eos_id, self.bos_id, self.unk_id} | self.end_ids
        return frozenset() if self.pad_id is None or self.pad_id in others else frozenset({self.pad_id})


def read_vocabulary(folder: Path, *, read: Reader = read_whole) -> Vocabulary | None:
    """Read the tokenizer in a model's folder; None where it has no file of ids.

    Args:
        folder: The model's.
        read: Hands out the files; one that knows a record refuses what differs from it.

    Raises:
        CheckpointError: A file is too large, is no JSON, or does not say what such a file says.
    """
    settings = _side_file(folder / "tokenizer_config.json", read)
    pieces, special, roles, rules = _read_pieces(folder, read)
    if not pieces:
        return None
    for number, piece, is_special in _decoder_tokens(settings, folder / "tokenizer_config.json"):
        pieces[number] = piece
        if is_special:
            special.add(number)
    ids = {piece: number for number, piece in pieces.items()}
    merged = {**_side_file(folder / "special_tokens_map.json", read), **settings}
    named = {
        role: _named_id(merged[f"{role}_token"], ids) if f"{role}_token" in merged else roles.get(role)
        for role in ("eos", "bos", "pad", "unk")
    }
    ends = _generation_ends(folder / "generation_config.json", read)
    if named["eos"] is not None:
        ends.add(named["eos"])
    special.update(number for number in named.values() if number is not None)
    return Vocabulary(
        pieces=pieces,
        special_ids=frozenset(special),
        eos_id=named["eos"],
        bos_id=named["bos"],
        pad_id=named["pad"],
        unk_id=named["unk"],
        end_ids=frozenset(ends),
        rules=rules,
    )


def _read_pieces(
    folder: Path, read: Reader
) -> tuple[dict[int, str], set[int], dict[str, int], dict[str, str]]:
    """id -> piece, the ids flagged special, role -> id, and the rules; all empty without a file of ids."""
    path = folder / "tokenizer.json"
    content = read(path, limit_bytes=TOKENIZER_LIMIT_BYTES, next_step=_NEXT)
    if content is not None:
        parsed, flagged, rules = _parsed_once(content, path)
        return dict(parsed), set(flagged), {}, rules
    model = read_piece_model(folder / "tokenizer.model", next_step=_NEXT, read=read)
    if model is not None:
        return {**model.pieces, **_added_beside(folder, read)}, set(model.special), dict(model.roles), {}
    path = folder / "vocab.json"
    words = read_object(path, limit_bytes=TOKENIZER_LIMIT_BYTES, next_step=_NEXT, read=read)
    return ({} if words is None else {**_inverted(words, path), **_added_beside(folder, read)}), set(), {}, {}


def _parsed_once(content: bytes, path: Path) -> tuple[dict[int, str], set[int], dict[str, str]]:
    """Models of a family mostly hold one file, byte for byte; parsing ten megabytes takes half a second."""
    digest = hashlib.sha256(content).digest()
    if digest not in _PARSED:
        document = parse_object(content, path, next_step=_NEXT)
        try:
            parsed = *_tokenizer_json(document, path), token_rules(document)
        except RecursionError as error:
            raise _nonsense(path, "expected rules of a sane depth", "deeper ones") from error
        while len(_PARSED) >= _KEPT:
            del _PARSED[next(iter(_PARSED))]
        _PARSED[digest] = parsed
    return _PARSED[digest]


def _added_beside(folder: Path, read: Reader) -> dict[int, str]:
    path = folder / "added_tokens.json"
    return _inverted(_side_file(path, read), path)


def _tokenizer_json(document: Mapping[str, object], path: Path) -> tuple[dict[int, str], set[int]]:
    model = document.get("model")
    if not isinstance(model, dict):
        raise _nonsense(path, "expected an object under 'model'", model)
    vocab = model.get("vocab")
    if isinstance(vocab, dict):
        pieces = _inverted(vocab, path)
    elif isinstance(vocab, list):
        pieces = {number: _unigram_piece(entry, path) for number, entry in enumerate(vocab)}
    else:
        raise _nonsense(path, "expected an object or a list under 'model.vocab'", vocab)
    special: set[int] = set()
    added = document.get("added_tokens") or []
    if not isinstance(added, list):
        raise _nonsense(path, "expected a list under 'added_tokens'", added)
    for entry in added:
        number, piece, is_special = _added_token(entry, path)
        # An added token takes its id over: tokenizers match it before the model sees the text.
        pieces[number] = piece
        if is_special:
            special.add(number)
    return pieces, special


def _inverted(vocab: Mapping[str, object], path: Path) -> dict[int, str]:
    pieces: dict[int, str] = {}
    for piece, value in vocab.items():
        number = _checked_id(value, path)
        if number in pieces:
            raise _nonsense(path, f"expected one piece for id {number}", [pieces[number], piece])
        pieces[number] = piece
    return pieces


def _unigram_piece(entry: object, path: Path) -> str:
    if isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str):
        return entry[0]
    raise _nonsense(path, "expected [piece, score] under 'model.vocab'", entry)


def _added_token(entry: object, path: Path) -> tuple[int, str, bool]:
    content = entry.get("content") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(content, str):
        raise _nonsense(path, "expected an added token with 'id' and 'content'", entry)
    return _checked_id(entry.get("id"), path), content, entry.get("special") is True


def _decoder_tokens(settings: Mapping[str, object], path: Path) -> Iterator[tuple[int, str, bool]]:
    """Tokens of tokenizer_config.json's `added_tokens_decoder`, where it has one."""
    decoder = settings.get("added_tokens_decoder") or {}
    if not isinstance(decoder, dict):
        raise _nonsense(path, "expected an object under 'added_tokens_decoder'", decoder)
    for key, entry in decoder.items():
        number = int(key) if key.isascii() and key.isdigit() and len(key) < 10 else key
        yield _added_token({**entry, "id": number} if isinstance(entry, dict) else entry, path)


def _named_id(token: object, ids: Mapping[str, int]) -> int | None:
    """A special token is stored as text, as an object with `content`, or as null."""
    text = token.get("content") if isinstance(token, dict) else token
    return ids.get(text) if isinstance(text, str) else None


def _generation_ends(path: Path, read: Reader) -> set[int]:
    stated = _side_file(path, read).get("eos_token_id")
    if stated is None:
        return set()
    return {_checked_id(number, path) for number in (stated if isinstance(stated, list) else [stated])}


def _side_file(path: Path, read: Reader) -> Mapping[str, object]:
    return read_object(path, limit_bytes=SIDE_FILE_LIMIT_BYTES, next_step=_NEXT, read=read) or {}


def _checked_id(value: object, path: Path) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST_ID:
        return value
    raise _nonsense(path, f"expected a token id from 0 to {LARGEST_ID - 1}", value)


def _nonsense(path: Path, expected: str, got: object) -> CheckpointError:
    return unusable(path, expected, shown(got), next_step=_NEXT)
