"""A PostgreSQL server in a folder of its own, reached by a socket there and by nothing else."""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

NOBODY = 65534
DEBIAN = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
SEARCHED = os.pathsep.join([os.environ.get("PATH", ""), *map(str, DEBIAN)])
_numbers = itertools.count(1)


def missing_programs() -> str:
    """What keeps the tests on PostgreSQL from running; empty when nothing does."""
    lacking = [name for name in ("initdb", "pg_ctl") if shutil.which(name, path=SEARCHED) is None]
    if lacking:
        return f"no PostgreSQL server here: {' and '.join(lacking)} not found, so nothing was tried on one"
    return "" if find_spec("psycopg") else "psycopg is not installed (the extra 'postgres')"


@contextmanager
def private_server() -> Iterator[str]:
    """Start a server, and stop it in the end. It refuses to run as root, so root runs it as nobody."""
    folder = Path(tempfile.mkdtemp(prefix="specreg-pg-"))
    user: dict[str, Any] = {}
    if os.getuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
        user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}

    def run(program: str, *arguments: str) -> None:
        found = shutil.which(program, path=SEARCHED)
        subprocess.run(
            [str(found), *arguments], check=True, cwd=folder, stdout=subprocess.DEVNULL, timeout=120, **user
        )

    data = str(folder / "data")
    options = f"-c listen_addresses= -c unix_socket_directories={folder}"
    try:
        run("initdb", "-D", data, "-U", "specreg", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        run("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql://specreg@/postgres?host={folder}"
        finally:
            run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@cache
def shared_server() -> str:
    """The URL of one server for all tests of this run."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(private_server())


def fresh_database(server_url: str) -> str:
    """The URL of a database that was just made."""
    import psycopg

    name = f"specreg_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return server_url.replace("/postgres?", f"/{name}?")
