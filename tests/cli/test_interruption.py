"""Ctrl-C at any moment of a command: one line, and 130."""

from __future__ import annotations

import subprocess
import sys

import pytest

INTERRUPT = "import signal; signal.raise_signal(signal.SIGINT)"


def python(code: str) -> tuple[int, str]:
    """How a process of its own ends, and what it says on stderr, but for the line that ^C stands on."""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return ended.returncode, ended.stderr.strip()


def within(module: str) -> str:
    """A command that is interrupted while that module is imported."""
    return f"""
import sys
from importlib.abc import MetaPathFinder
from registry.__main__ import main

class Interrupting(MetaPathFinder):
    def find_spec(self, name, *_):
        if name == {module!r}:
            {INTERRUPT}

sys.meta_path.insert(0, Interrupting())
sys.argv = ["specreg", "list"]
main()
"""


@pytest.mark.parametrize("module", ["registry.cli", "click", "registry.cli.list", "registry.records"])
def test_while_modules_are_imported(module: str) -> None:
    """
    Whichever module is being imported, there is no traceback.
    """
    assert python(within(module)) == (130, "specreg: Interrupted.")


def test_once_the_command_has_ended() -> None:
    """
    What the interpreter does at its end is interrupted as quietly.
    """
    late = f"import atexit, sys; atexit.register(lambda: exec({INTERRUPT!r})); sys.argv[1:] = ['--version']"

    assert python(f"{late}\nfrom registry.__main__ import main\nmain()") == (130, "specreg: Interrupted.")


def test_within_a_piece_of_text() -> None:
    """
    The exit code is our own also where the interpreter takes the interruption for unhandled.
    """
    code = (
        "import sys, registry.cli.entry as entry\n"
        "sys.argv[1:] = ['--version']\n"
        f"entry.specreg.main = lambda **_: exec({INTERRUPT!r})\n"
        "entry.main()"
    )

    assert python(code) == (130, "specreg: Interrupted.")


def test_front_door_leaves_every_room_closed() -> None:
    """
    `import registry` loads none of its rooms, so that a command comes to hear Ctrl-C within milliseconds.
    """
    code = (
        "import sys, registry; sys.exit(str([name for name in sys.modules if name.startswith('registry.')]))"
    )

    assert python(code) == (1, "[]")


def test_while_a_fragile_library_is_imported() -> None:
    """
    numpy and torch swallow an exception that comes while they are imported, or abort: none is raised in them.
    """
    code = (
        "import sys, registry.cli.entry as entry\nfrom registry.__main__ import main\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.startswith('numpy.'):\n"
        f"            try:\n                {INTERRUPT}\n"
        "            except KeyboardInterrupt:\n                pass\n"
        "sys.meta_path.insert(0, Finder())\n"
        "sys.argv[1:] = ['--version']\nentry.specreg.main = lambda **_: __import__('numpy')\nmain()"
    )

    assert python(code) == (130, "specreg: Interrupted.")


def test_made_another_error_on_its_way() -> None:
    """
    An import that turns the interruption into an error of its own, as numpy's does, is interrupted all the same.
    """
    code = (
        "import sys, registry.cli.entry as entry\nfrom registry.__main__ import main\n"
        "def fail(**_):\n"
        f"    try:\n        {INTERRUPT}\n    except KeyboardInterrupt:\n        raise ImportError('numpy')\n"
        "sys.argv[1:] = ['--version']\nentry.specreg.main = fail\nmain()"
    )

    assert python(code) == (130, "specreg: Interrupted.")


def test_ignored_stays_ignored() -> None:
    """
    Where Ctrl-C is ignored, as it is for a job in the background, it stays so.
    """
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); sys.argv[1:] = ['--version']\n"
        f"from registry.__main__ import main\ntry:\n    main()\nfinally:\n    {INTERRUPT}"
    )

    assert python(code) == (0, "")
