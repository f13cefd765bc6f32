"""A SentencePiece `tokenizer.model`, read without its library: pieces, their types, and the special ids.

Older Llama and Vicuna folders hold no other list of ids. The file is a protobuf message; of its fields only
those named here are read, the rest is stepped over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from registry.files.jsonfile import Reader, read_whole, unusable

LIMIT_BYTES = 16 * 2**20
MOST_PIECES = 2**20

_PIECES, _TRAINER = 1, 2
_TEXT, _TYPE = 1, 3
_UNKNOWN, _CONTROL = 2, 3
_SPECIAL_IDS = {"unk": (40, 0), "bos": (41, 1), "eos": (42, 2), "pad": (43, -1)}
"""Role -> field of the trainer's settings, and the id where the field is absent."""

_FIRST_BYTE = b"\x0a"
_Field: TypeAlias = tuple[int, int | bytes]


@dataclass(frozen=True, kw_only=True)
class PieceModel:
    """`special` are the ids of control and unknown pieces; `roles` those of eos, bos, pad, unk, if there."""

    pieces: dict[int, str]
    special: frozenset[int]
    roles: dict[str, int]


def read_piece_model(path: Path, *, next_step: str, read: Reader = read_whole) -> PieceModel | None:
    """Read a tokenizer.model; None where there is none, or where it is of another make (tiktoken's, say).

    Raises:
        CheckpointError: It is larger than 16 MiB, or breaks off, or holds no text where a piece is due.
    """
    content = read(path, limit_bytes=LIMIT_BYTES, next_step=next_step)
    if content is None or not content.startswith(_FIRST_BYTE):
        return None
    try:
        return _parse(content)
    except (ValueError, IndexError) as error:
        reason = str(error) or "something else"
        raise unusable(path, "expected a SentencePiece model", reason, next_step=next_step) from error


def _parse(content: bytes) -> PieceModel:
    pieces: dict[int, str] = {}
    special: set[int] = set()
    settings: dict[int, int | bytes] = {}
    for number, value in _fields(content):
        if number == _PIECES:
            entry = dict(_fields(_as_bytes(value)))
            if len(pieces) >= MOST_PIECES:
                raise ValueError(f"more than {MOST_PIECES} pieces")
            if entry.get(_TYPE) in (_UNKNOWN, _CONTROL):
                special.add(len(pieces))
            pieces[len(pieces)] = _as_bytes(entry.get(_TEXT, b"")).decode("utf-8")
        elif number == _TRAINER:
            settings.update(_fields(_as_bytes(value)))
    roles = {role: settings.get(field, default) for role, (field, default) in _SPECIAL_IDS.items()}
    return PieceModel(
        pieces=pieces,
        special=frozenset(special),
        roles={
            role: number for role, number in roles.items() if isinstance(number, int) and number in special
        },
    )


def _fields(message: bytes) -> Iterator[_Field]:
    """Number and value of each field: an int for varints, bytes for all else."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        if kind not in (1, 2, 5):
            raise ValueError(f"a field of kind {kind} at byte {at}")
        size, at = _varint(message, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
        if at + size > len(message):
            raise ValueError(f"{size} bytes announced at byte {at}, {len(message) - at} there")
        yield tag >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Seven bits a byte, low ones first; at most ten bytes. IndexError where the message ends inside."""
    value = 0
    for place in range(10):
        byte = message[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError(f"an endless number at byte {at}")


def _as_bytes(value: int | bytes) -> bytes:
    if isinstance(value, bytes):
        return value
    raise ValueError("a number where text or a message is due")
