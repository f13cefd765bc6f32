"""What was measured of models, edges and chains."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table, and the index by which the latest of each is found."""
    op.create_table(
        "specreg_measurement",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("setup_key", sa.String(), nullable=False),
        sa.Column("law", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("measured_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("setup", sa.JSON(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("provenance", sa.JSON(), nullable=False),
        sa.Column("specreg_version", sa.String(), nullable=False),
    )
    op.create_index(
        "specreg_measurement_latest",
        "specreg_measurement",
        ["kind", "subject", "setup_key", "law", "measured_at"],
    )
