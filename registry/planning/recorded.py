"""What a head's own evaluation says of acceptance."""

from __future__ import annotations

from typing import Final

from registry.errors import SpecregError
from registry.files.folder import CheckpointFolder
from registry.files.strictjson import StrictJSONError, parse_json
from registry.records import Head
from registry.shelf import Shelf

EVALUATION: Final = "evaluation.json"
MAX_BYTES: Final = 1 << 20
FIELDS: Final = ("acceptance", "base_rate")
"""The sum of min(p, q), or what `specreg evaluate` calls the share of drafted tokens that is accepted."""


def recorded_acceptance(shelf: Shelf, head: Head) -> float | None:
    """The share of drafted tokens that was accepted at temperature 1; None where no file here tells."""
    folder = shelf.head_place(head).folder
    if folder is None or not (folder / EVALUATION).is_file():
        return None
    try:
        with CheckpointFolder(folder).open(EVALUATION) as file:
            content = parse_json(file.read(MAX_BYTES))
    except (OSError, SpecregError, StrictJSONError):
        return None
    told = [content.get(name) for name in FIELDS] if isinstance(content, dict) else []
    return next((float(one) for one in told if isinstance(one, float) and 0 <= one <= 1), None)
