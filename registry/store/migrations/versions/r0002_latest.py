"""The latest verification of a name, found without reading all of them."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the index."""
    op.create_index("specreg_verification_latest", "specreg_verification", ["kind", "name", "checked_at"])
