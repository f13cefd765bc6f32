"""The store's schema brought up to date by Alembic, in the caller's transaction."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from alembic import command
from alembic.config import Config

if TYPE_CHECKING:
    from sqlalchemy import Connection

FOLDER: Final = Path(__file__).parent / "migrations"


def migrate(connection: Connection, *, to: str = "head") -> None:
    """Apply every revision that the database lacks, up to `to`; the caller commits.

    Raises:
        sqlalchemy.exc.DBAPIError: The database refused.
    """
    command.upgrade(_config(connection), to)


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
