"""One thing that was measured, as the store keeps it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from registry.planning.setup import Setup
from registry.records import Record

Kind = Literal["forwards", "rounds", "chain", "trace", "lengths"]
"""Of a model: its forwards. Of an edge: what its rounds take besides, and its trace along texts. Of a chain: what its
rounds take beside its edges', and lengths found by running it."""


class Measurement(Record):
    """What was measured, of what, on what, and when.

    `subject` names a model, an edge or a chain; `law` is that of the texts, '' where it makes no difference.
    `fingerprint` tells whether the checkpoints are still those that were measured. `document` is what was found;
    `provenance` says what else one has to know to find it again.
    """

    kind: Kind
    subject: str
    setup: Setup
    law: str = ""
    fingerprint: str
    measured_at: datetime
    document: dict[str, Any]
    provenance: dict[str, Any]
