"""`specreg discover`: what the sources of the catalog hold now."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from registry.cli.options import as_json, with_catalog, with_timeout
from registry.cli.printing import print_json


@click.command(
    short_help="Compare the catalog with what its sources hold now.",
    epilog="Example: specreg discover specdecpp",
)
@click.argument("names", nargs=-1, metavar="[SOURCE-NAME]...")
@with_timeout
@with_catalog
@as_json
def discover(names: tuple[str, ...], timeout_s: float, catalog: tuple[Path, ...], as_json: bool) -> None:
    """Compare the catalog with what its Hub repositories, or the sources named, hold now.

    A head is `new` (the catalog has none in that folder), `taken` (the catalog has one of that name from elsewhere),
    `gone` (it is no longer there), `changed` (its files differ from the record), `same` or `unrecorded`. Below each
    source stand the commands that bring the catalog up to date. Ends with 1 when a head is gone, with 2 when a source
    could not be looked at, and with 0 otherwise, new heads included.
    """
    from registry.catalog import own_files
    from registry.editing.discovering import discover as look
    from registry.editing.takingin import steps
    from registry.shelf import Shelf

    shelf = Shelf.open(catalog)
    reports = look(shelf.catalog, shelf.lock, names, timeout_s=timeout_s)
    if as_json:
        print_json({"sources": [_document(report) for report in reports]})
    else:
        for report in reports:
            _print(report, steps(report, shelf.catalog, own_files(catalog), shelf.given))
        if not reports:
            click.echo("No source of the catalog is on the Hub.")
    problems = list(dict.fromkeys(str(report.problem) for report in reports if report.problem is not None))
    for problem in problems:
        click.echo(f"specreg: {problem}", err=True)
    gone = any(report.of("gone") for report in reports)
    raise click.exceptions.Exit(2 if problems else 1 if gone else 0)


def _document(report: Any) -> dict[str, Any]:
    return {
        "source": report.source,
        "where": report.where,
        "commit": report.commit,
        "heads": [
            {"head": one.head, "folder": one.folder, "status": one.status, "files": list(one.files)}
            for one in report.heads
        ],
        "odd": [{"folder": one.folder, "reason": one.reason} for one in report.odd],
        "problem": None if report.problem is None else str(report.problem),
    }


def _print(report: Any, found: Iterable[tuple[str, str]]) -> None:
    """A line for each head: how it stands, its name, a word on it; then the commands that take it in."""
    at = f" at {report.commit}" if report.commit else ""
    click.echo(f"source\t{report.source}\t{report.where}{at}")
    for one in report.heads:
        click.echo("\t".join([one.status, one.head, ", ".join(one.files)]).rstrip("\t"))
    for one in report.odd:
        click.echo(f"odd\t{one.folder}\t{one.reason}")
    for what, step in found:
        click.echo(f"{what}\t{step}")
