"""What looks and lists loads no database library; what is packaged holds every migration."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from registry.shelf import Shelf
from registry.store.store import Store
from tests.store.conftest import HEAD
from tests.store.reports import faulty

ROOT = Path(__file__).parent.parent.parent

COMMANDS = (
    ["--help"],
    ["store", "--help"],
    ["list"],
    ["show", HEAD],
    ["chain", "pico-little", "pico-draft", "--json"],
)
CODE = f"""
import sys
from registry.cli import main
for command in {COMMANDS}:
    try:
        main(command)
    except SystemExit as ended:
        assert not ended.code, command
    found = {{"sqlmodel", "sqlalchemy", "alembic", "psycopg"}} & set(sys.modules)
    assert not found, (command, found)
"""


def test_commands_that_only_look_load_no_database_library(shelf: Shelf) -> None:
    """
    Not even where there is a store to look into.
    """
    with Store.open() as store:
        store.remember_verification([faulty("one")], shelf)

    shown = subprocess.run([sys.executable, "-c", CODE], check=True, capture_output=True, text=True).stdout

    assert "faulty" in shown


def test_migrations_lie_in_the_package() -> None:
    """
    They are inside `registry`, which the wheel takes whole, so `pip install` brings them.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())

    assert "registry" in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert (ROOT / "registry" / "store" / "migrations" / "env.py").is_file()
    assert len(list((ROOT / "registry" / "store" / "migrations" / "versions").glob("r0*.py"))) == 3
