"""What the files of one edge say: the head's own config, its models' configs and tokenizers."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

from registry.files.folder import CheckpointFolder
from registry.files.jsonfile import Reader, read_object, read_start, read_whole, unusable
from registry.files.manifest import read_recorded
from registry.files.strictjson import StrictJSONError, parse_json, shown
from registry.records import FileRecord, LockEntry
from registry.tokens.vocabulary import TOKENIZER_FILES, Vocabulary, read_vocabulary

CONFIG_LIMIT_BYTES = 2**20
HEADER_LIMIT_BYTES = 2**20
LARGEST_COUNT = 2**31
CONFIG = "config.json"
MODEL_COUNTS = ("hidden_size", "vocab_size")

_NEXT = "Download it again."
_BLOCK_WEIGHT = re.compile(r"model\.(0|[1-9][0-9]{0,4})\.linear\.weight")


@dataclass(frozen=True, kw_only=True)
class EdgeFacts:
    """Facts of one edge read from disk; None is what is not known.

    `head_hidden_size` and `head_layers` are those of the head's config.json, `stored_layers` the blocks
    named in its weights, shared ones included. Hidden and vocabulary sizes (rows of the output layer) are
    those of the models' config.json.
    """

    head_hidden_size: int | None = None
    head_layers: int | None = None
    stored_layers: int | None = None
    source_config_hidden_size: int | None = None
    target_config_hidden_size: int | None = None
    source_vocab_size: int | None = None
    target_vocab_size: int | None = None
    source_tokenizer: Vocabulary | None = None
    target_tokenizer: Vocabulary | None = None


NOTHING_KNOWN = EdgeFacts()
_Records: TypeAlias = frozenset[tuple[str, FileRecord]]


def read_edge_facts(
    head_folder: Path | None,
    source_folder: Path | None,
    target_folder: Path | None,
    *,
    source_entry: LockEntry | None = None,
    target_entry: LockEntry | None = None,
) -> EdgeFacts:
    """Read what is on disk; a folder that is None or lacks a file leaves its facts unknown.

    Of weights only the names in the header of model.safetensors are read. Where a model's record is given, the bytes
    that are believed are those that were hashed and are as recorded.

    Raises:
        CheckpointError: A file is there but cannot be used, or is not what its record says.
    """
    head = {} if head_folder is None else _read_counts(head_folder, "hidden_size", "num_layers")
    source = {} if source_folder is None else read_model_counts(source_folder, source_entry)
    target = {} if target_folder is None else read_model_counts(target_folder, target_entry)
    return EdgeFacts(
        head_hidden_size=head.get("hidden_size"),
        head_layers=head.get("num_layers"),
        stored_layers=None if head_folder is None else _stored_layers(head_folder / "model.safetensors"),
        source_config_hidden_size=source.get("hidden_size"),
        target_config_hidden_size=target.get("hidden_size"),
        source_vocab_size=source.get("vocab_size"),
        target_vocab_size=target.get("vocab_size"),
        source_tokenizer=None if source_folder is None else _tokenizer(source_folder, source_entry),
        target_tokenizer=None if target_folder is None else _tokenizer(target_folder, target_entry),
    )


def read_model_counts(folder: Path, entry: LockEntry | None = None) -> dict[str, int]:
    """Hidden size and vocabulary size of a model's config.json, those that it states; empty without the file.

    Raises:
        CheckpointError: The file is there but cannot be used, or is not what its record says.
    """
    return dict(_cached_counts(folder, _records(entry), _stamp(folder, CONFIG)))


def _read_counts(folder: Path, *names: str, read: Reader = read_whole) -> dict[str, int]:
    """The named counts of a config.json, a multimodal model's `text_config` included."""
    path = folder / CONFIG
    config = read_object(path, limit_bytes=CONFIG_LIMIT_BYTES, next_step=_NEXT, read=read) or {}
    nested = config.get("text_config")
    if isinstance(nested, dict):
        config = {**nested, **config}
    return {name: _count(config[name], name, path) for name in names if config.get(name) is not None}


def _count(value: object, name: str, path: Path) -> int:
    # A depth of 0 is a head without residual blocks: odd, but a head.
    least = 0 if name == "num_layers" else 1
    if isinstance(value, int) and not isinstance(value, bool) and least <= value < LARGEST_COUNT:
        return value
    raise unusable(
        path, f"expected an integer of at least {least} as {name!r}", shown(value), next_step=_NEXT
    )


def _stored_layers(path: Path) -> int | None:
    """Residual blocks whose weight is stored or, in the metadata, said to be another's."""
    content = read_start(path, 8 + HEADER_LIMIT_BYTES, next_step=_NEXT)
    if content is None:
        return None
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > len(content) - 8:
        raise unusable(path, "expected a header of at most 1 MiB", f"{length} bytes", next_step=_NEXT)
    try:
        header = parse_json(content[8 : 8 + length])
    except StrictJSONError as error:
        raise unusable(path, "expected JSON in the header", str(error), next_step=_NEXT) from error
    if not isinstance(header, dict):
        raise unusable(path, "expected an object in the header", shown(header), next_step=_NEXT)
    metadata = header.get("__metadata__")
    names = {*header, *(metadata if isinstance(metadata, dict) else ())}
    return sum(1 for name in names if _BLOCK_WEIGHT.fullmatch(name))


def _tokenizer(folder: Path, entry: LockEntry | None) -> Vocabulary | None:
    """A model stands in several edges: its files are read once a run, unless they changed."""
    return _cached_vocabulary(folder, _records(entry), _stamp(folder, *TOKENIZER_FILES))


@lru_cache(maxsize=16)
def _cached_vocabulary(
    folder: Path, records: _Records | None, _stamp: tuple[object, ...]
) -> Vocabulary | None:
    return read_vocabulary(folder, read=_reader(folder, records))


@lru_cache(maxsize=64)
def _cached_counts(folder: Path, records: _Records | None, _stamp: tuple[object, ...]) -> dict[str, int]:
    return _read_counts(folder, *MODEL_COUNTS, read=_reader(folder, records))


def _records(entry: LockEntry | None) -> _Records | None:
    """Those of the files that are read here, in a form that a cache can know again."""
    if entry is None:
        return None
    return frozenset((name, entry.files[name]) for name in (CONFIG, *TOKENIZER_FILES) if name in entry.files)


def _reader(folder: Path, records: _Records | None) -> Reader:
    """Reads files of the folder, by their records where there are any."""
    if records is None:
        return read_whole
    checkpoint, known = CheckpointFolder(folder), dict(records)

    def read(path: Path, *, limit_bytes: int, next_step: str) -> bytes | None:
        if not os.path.lexists(path):
            return None
        record = known.get(path.name)
        if record is None:
            raise unusable(path, "expected a file of the model's record", "one without", next_step=next_step)
        subject = f"the model in {folder}"
        return read_recorded(checkpoint, record, path.name, subject=subject, max_bytes=limit_bytes)

    return read


def _stamp(folder: Path, *names: str) -> tuple[object, ...]:
    """Changes whenever one of the files does."""
    stamps: list[object] = []
    for name in names:
        try:
            status = (folder / name).stat()
        except (OSError, ValueError):
            stamps.append(None)
        else:
            stamps.append((status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(stamps)
