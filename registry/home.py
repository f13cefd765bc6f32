"""Where specreg keeps its own state: SPECREG_HOME, else the platform's data folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def home(environ: Mapping[str, str] | None = None) -> Path:
    """The folder of specreg's own state; it may not exist yet. An empty SPECREG_HOME counts as not set."""
    environ = os.environ if environ is None else environ
    given = environ.get("SPECREG_HOME")
    if not given:
        from platformdirs import user_data_dir  # noqa: PLC0415 - only where no variable says it

        given = user_data_dir("specreg")
    return Path(given).expanduser().absolute()


def downloaded_lock_path(environ: Mapping[str, str] | None = None) -> Path:
    """The record of what was downloaded without an entry in a catalog's lock; the file may not exist."""
    return home(environ) / "downloaded.lock"
