"""A safetensors file judged as it streams by, so that one pass hashes and checks it."""

from __future__ import annotations

from dataclasses import dataclass

from registry.files.folder import CHUNK_BYTES, HashedFile
from registry.files.tensorfile import LENGTH_BYTES, MAX_HEADER_BYTES, TensorFile, finite, read_header


@dataclass(frozen=True)
class TensorScan:
    """What one pass over a safetensors file showed; `not_finite` names tensors with NaN or an infinity."""

    header: TensorFile
    not_finite: tuple[str, ...]


def scan_header(file: HashedFile) -> TensorFile:
    """Judge the header of a file opened just now; the data stays unread.

    Raises:
        CheckpointError: the header is refused.
    """
    start = file.read(LENGTH_BYTES)
    length = min(int.from_bytes(start, "little"), MAX_HEADER_BYTES)
    return read_header(start + file.read(length), size_bytes=file.size_bytes, file=file.name)


def scan_tensors(file: HashedFile) -> TensorScan:
    """Judge a file opened just now, header and numbers.

    Raises:
        CheckpointError: the header is refused.
    """
    header = scan_header(file)
    bad = []
    # A sound header leaves no hole: in order of their start, the tensors are the rest of the file.
    for name, info in sorted(header.tensors.items(), key=lambda item: item[1].start):
        sound = True
        for at in range(info.start, info.end, CHUNK_BYTES):
            piece = file.take(min(CHUNK_BYTES, info.end - at))
            sound = sound and finite(piece, info.dtype)
        if not sound:
            bad.append(name)
    return TensorScan(header=header, not_finite=tuple(sorted(bad)))
