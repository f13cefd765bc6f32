"""Commands that a message suggests: they read the same catalogs as the command that failed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

import click

from registry.command import command as worded

OPTION = "--catalog"
PLACEHOLDER = "CATALOG"
_SUGGESTED = re.compile(r"`specreg ([a-z]+)([^`]*)`")


def catalogs_in(arguments: Sequence[str]) -> tuple[str, ...]:
    """The catalogs that a command line names.

    >>> catalogs_in(["verify", "--catalog", "a.yaml", "x", "--catalog=b.yaml", "--", "--catalog"])
    ('a.yaml', 'b.yaml')
    """
    found, words = [], iter(arguments)
    for word in words:
        if word == "--":
            break
        if word == OPTION:
            found += [catalog for catalog in [next(words, None)] if catalog is not None]
        elif word.startswith(f"{OPTION}="):
            found.append(word.partition("=")[2])
    return tuple(found)


def with_catalogs(message: str, catalogs: Sequence[str], commands: click.Group) -> str:
    """A message whose suggestions, between backticks, read the same catalogs as the command that failed.

    The rooms that write them know of no command line. `specreg lock`, which takes a catalog as its argument, gets it
    where only one was given.
    """

    def completed(found: re.Match[str]) -> str:
        name, rest = found.groups()
        if name == "lock":
            mine = shlex.quote(catalogs[0]) if len(catalogs) == 1 else PLACEHOLDER
            return (
                f"`specreg lock{' '.join(mine if word == PLACEHOLDER else word for word in rest.split(' '))}`"
            )
        command = commands.get_command(click.Context(commands), name)
        takes = command is not None and any(OPTION in one.opts for one in command.params)
        if not takes or OPTION in rest:
            return found[0]
        return f"`specreg {name}{rest}{worded(catalogs=catalogs).removeprefix('specreg')}`"

    return _SUGGESTED.sub(completed, message) if catalogs else message
