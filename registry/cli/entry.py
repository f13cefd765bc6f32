"""`specreg`: the group of commands, and how it ends.

Exit codes: 0 sound; 1 a fault was found; 2 wrong usage, or it could not look; 130 interrupted. Errors are one
sentence on stderr, those that nobody foresaw included; `--debug` shows the traceback. Whether anybody reads what is
printed to its end changes no exit code.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, NoReturn

import click

from registry.cli.streams import end_with_reader
from registry.cli.suggesting import catalogs_in, with_catalogs
from registry.errors import SpecregError
from registry.interruption import INTERRUPTED, hear, settle, was_heard

COMMANDS = {  # name -> the module under registry.cli and its function
    "list": ("list", "list_"),
    "show": ("show", "show"),
    "chain": ("chain", "chain"),
    "download": ("download", "download"),
    "lock": ("lock", "lock"),
    "verify": ("verify", "verify"),
    "convert": ("convert", "convert"),
    "import": ("import_", "import_"),
    "discover": ("discover", "discover"),
    "publish": ("publish", "publish"),
    "catalog": ("catalog", "catalog"),
    "store": ("store", "store"),
    "decode": ("decode", "decode"),
    "bench": ("bench", "bench"),
    "measure": ("measure", "measure"),
    "plan": ("plan", "plan"),
    "tune": ("tune", "tune"),
    "doctor": ("doctor", "doctor"),
    "train": ("train", "train"),
    "evaluate": ("evaluate", "evaluate"),
    "calibrate": ("calibrate", "calibrate"),
    "schema": ("schema", "schema"),
}


# What these finish is kept, and the same command goes on with it; `bench` keeps what goes into a file alone.
GOES_ON = {"train": "", "download": "", "bench": "--json"}

# Whoever closes its output has the text that was wanted; any other command goes on to what its exit code says.
ENDS_WITH_READER = "decode"


class Commands(click.Group):
    """Commands by name, each loaded when it is asked for: none pays for the others' start."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command, from its own module."""
        if cmd_name not in COMMANDS:
            return None
        module, function = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"registry.cli.{module}"), function)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is meant; for one that there is not, those nearest to it."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            from registry.names import nearest

            near = " or ".join(f"'{known}'" for known in nearest(name, COMMANDS, limit=2))
            ctx.fail(f"No such command '{name}'.{f' Did you mean {near}?' if near else ''}")
        return super().resolve_command(ctx, args)

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Parse, which prints the group's own help."""
        with _printing():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command."""
        with _printing():
            outcome: object = super().invoke(ctx)
        return outcome


class _NobodyReads(Exception):  # noqa: N818 - no error: `specreg decode ... | head -1` has what it wants
    """Whoever read our output has closed it, and the command ends with that."""


@contextmanager
def _printing() -> Iterator[None]:
    """See to it that all that is printed has gone out, as far as somebody reads it."""
    try:
        yield
        if sys.stdout is not None:  # as it is for `specreg list >&-`
            sys.stdout.flush()
    except BrokenPipeError as error:  # click itself would end with 1, as if a fault had been found
        raise _NobodyReads from error


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: specreg chain qwen3-0.6b qwen3-14b",
)
@click.version_option(package_name="specreg")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def specreg(debug: bool) -> None:
    """Find acceptance prediction heads, prove that they fit, and decode with them."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit as its outcome says."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug, given = "--debug" in given, [part for part in given if part != "--debug"]
    if given[:1] == [ENDS_WITH_READER]:
        end_with_reader()
    try:
        hear()
        outcome = specreg.main(args=given, prog_name="specreg", standalone_mode=False)
    except SpecregError as error:
        _show(error, debug=debug)
        _complain(with_catalogs(str(error), catalogs_in(given), specreg))
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        _end_interrupted(given)
    except _NobodyReads:
        _drop_output()
        sys.exit(0)
    except Exception as error:
        _show(error, debug=debug)
        if was_heard():
            _end_interrupted(given)
        _complain(_unforeseen(error))
        _drop_output()
        sys.exit(2)
    sys.exit(outcome if isinstance(outcome, int) else 0)


def _show(error: Exception, *, debug: bool) -> None:
    """The traceback, where it was asked for: what is wrong is then told all the same, and ends with the same code."""
    with suppress(OSError, AttributeError):
        if debug:
            traceback.print_exception(error)


def _complain(message: str) -> None:
    with suppress(OSError):  # stderr may be what cannot be written; the exit code tells as much
        click.echo(f"specreg: {message}", err=True)


def _end_interrupted(given: Sequence[str]) -> NoReturn:
    settle()
    _complain(_interrupted(given))
    sys.exit(INTERRUPTED)


def _interrupted(given: Sequence[str]) -> str:
    """That it was, and whether the same command goes on.

    >>> _interrupted(["train", "a", "b"]), _interrupted(["bench", "a", "b"])
    ('Interrupted. What was finished is kept: give the same command again to go on.', 'Interrupted.')
    """
    asks = GOES_ON.get(given[0] if given else "")
    goes_on = asks is not None and any(part.startswith(asks) for part in given)
    return "Interrupted." + (
        " What was finished is kept: give the same command again to go on." if goes_on else ""
    )


def _unforeseen(error: Exception) -> str:
    """One sentence for an error that no room has words for. Its own text is left out: it may hold a password."""
    kind = type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        kind += f", {error.strerror}" + (f": {' and '.join(names)}" if names else "")
    return f"The command could not go on ({kind}). Mend that if you can; --debug shows the traceback, for a report."


def _drop_output() -> None:
    """Let what is still to be written go nowhere: at its end the interpreter would fail with it once more."""
    with suppress(OSError, ValueError, AttributeError):  # of a stream that is closed, or was never there
        sys.stdout.flush()
        return
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
