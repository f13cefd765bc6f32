"""`specreg`: the group of commands, and how it ends.

Exit codes: 0 sound; 1 a fault was found; 2 wrong usage, or it could not look. Errors are one sentence on
stderr; `--debug` shows the traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from registry.errors import SpecregError

INTERRUPTED = 130
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
    "catalog": ("catalog", "catalog"),
    "store": ("store", "store"),
    "decode": ("decode", "decode"),
    "schema": ("schema", "schema"),
}


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
    try:
        outcome = specreg.main(args=given, prog_name="specreg", standalone_mode=False)
    except SpecregError as error:
        if debug:
            raise
        _complain(str(error))
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        _complain("Interrupted.")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    sys.exit(outcome if isinstance(outcome, int) else 0)


def _complain(message: str) -> None:
    click.echo(f"specreg: {message}", err=True)
