"""`specreg store`: what was installed, verified and measured on this machine, as it is remembered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from registry.cli.options import as_json, with_catalog
from registry.cli.printing import print_facts, print_json, print_table, shown_status
from registry.errors import SpecregError, UnknownNameError
from registry.records import HEAD_SEPARATOR

if TYPE_CHECKING:
    from registry.store.records import MeasuredSetup


@click.group(
    short_help="Show or rebuild the record of checks and measurements.",
    epilog="Example: specreg store history pico-little--to--pico-draft",
)
def store() -> None:
    """Look into the store of files, verifications and measurements, or rebuild it.

    It is a SQLite file under SPECREG_HOME, or the PostgreSQL database of SPECREG_DATABASE_URL. Everything works without
    it: only the times of verifications, and the measurements, are then unknown.
    """


@store.command(epilog="Example: specreg store show")
@as_json
def show(as_json: bool) -> None:
    """Show where the store is, its schema, and how much it holds.

    All measurements are kept; shown are those that count, for each machine and setup: of each kind the latest of each
    model, edge or chain.
    """
    from registry.store.records import measured_setups

    setups: Sequence[MeasuredSetup] = ()
    opened = _opened()
    if opened is None:
        document: dict[str, Any] = {"store": _shown_place(), "schema": None}
        document |= dict.fromkeys(("checkpoints", "files", "verifications", "measurements"), 0)
    else:
        with opened:
            document = {"store": opened.shown, "schema": opened.revision(), **opened.counts()}
            setups = measured_setups(opened.measurements())
    if as_json:
        print_json({**document, "setups": [one.to_json() for one in setups]})
        return
    print_facts([*{**document, "schema": document["schema"] or "none yet"}.items()])
    if setups:
        print_table(
            ("machine", "setup", "measured", "latest"),
            [(one.setup.host, one.setup, one, f"{one.latest:%Y-%m-%d %H:%M:%S} UTC") for one in setups],
        )


@store.command(epilog="Example: specreg store rebuild")
@with_catalog
@as_json
def rebuild(catalog: tuple[Path, ...], as_json: bool) -> None:
    """Rebuild the store from the files on this machine.

    A damaged store is set aside, not deleted. Verifications and measurements are kept as far as they can still be read.
    A damaged record of downloads is set aside too, and the next download makes it again. What belongs to a catalog that
    is not given here is left out, and a line says so.
    """
    from registry.home import downloaded_lock_path
    from registry.hub.downloaded import set_aside
    from registry.shelf import Shelf
    from registry.store.rebuild import rebuild as run

    record = set_aside(downloaded_lock_path())
    if record is not None:
        click.echo(
            f"specreg: The damaged record of what was downloaded was set aside: {record}. What it told of counts as "
            "not recorded until it is downloaded again: what is here is hashed anew, and only what is not right is "
            "fetched.",
            err=True,
        )
    done = run(Shelf.open(catalog))
    if done.left_out:
        _tell_left_out(done.left_out, catalog)
    if as_json:
        print_json(
            {
                "store": done.store,
                "checkpoints": done.checkpoints,
                "files": done.files,
                "verifications": done.verifications,
                "measurements": done.measurements,
                "set_aside": None if done.set_aside is None else str(done.set_aside),
                "record_set_aside": None if record is None else str(record),
                "left_out": list(done.left_out),
            }
        )
        return
    if done.set_aside is not None:
        click.echo(f"The damaged store was set aside: {done.set_aside}")
    click.echo(
        f"{done.store}: {done.checkpoints} checkpoints, {done.files} files, {done.verifications} verifications, "
        f"{done.measurements} measurements."
    )


def _tell_left_out(names: Sequence[str], catalog: tuple[Path, ...]) -> None:
    """How many, and what includes them: no record tells the catalog file that somebody named once."""
    from registry.command import command

    told = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    what = "1 checkpoint was" if len(names) == 1 else f"{len(names)} checkpoints were"
    step = command("store", "rebuild", catalogs=[*catalog, "FILE"])
    click.echo(
        f"specreg: {what} left out, recorded here but of no catalog that was read: {told}. `{step}`, with the catalog "
        "file that names them, includes them.",
        err=True,
    )


@store.command(epilog="Example: specreg store history pico-target")
@click.argument("name", required=False)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="The latest N of each name only.")
@with_catalog
@as_json
def history(name: str | None, limit: int | None, catalog: tuple[Path, ...], as_json: bool) -> None:
    """Show every verification, or those of NAME, the latest first."""
    names, unknown = ([None], None) if name is None else _names(name, catalog)
    opened = _opened()
    found: list[Any] = []
    if opened is not None:
        with opened:
            for one in names:
                found += opened.verifications(one, limit=limit)
    if unknown is not None and not found:
        raise unknown
    if as_json:
        print_json({"verifications": [one.to_json() for one in found]})
        return
    if not found:
        click.echo("No verification yet: `specreg verify` writes one.")
        return
    print_table(
        ("when", "name", "outcome", "faults", "commit", "folder"),
        [
            (
                f"{one.checked_at:%Y-%m-%d %H:%M:%S} UTC",
                one.name,
                shown_status("fail" if not one.ok else "ok" if one.recorded else "unrecorded"),
                "; ".join(one.faults),
                one.commit,
                one.folder,
            )
            for one in found
        ],
    )


def _opened() -> Any:
    """The store, to be read only, which needs no room on its disk; None where there is none yet."""
    from registry.store.faults import is_there
    from registry.store.place import store_place
    from registry.store.store import Store

    if not is_there(store_place()):
        return None
    opened = Store.open(read_only=True)
    if opened.revision() is None:
        opened.close()
        return None
    return opened


def _shown_place() -> str:
    from registry.store.place import store_place

    return store_place().shown


def _names(name: str, catalog: tuple[Path, ...]) -> tuple[list[str], SpecregError | None]:
    """The names that it calls in the catalog; itself where the catalog has none such (any more), and that error."""
    from registry.names import find_heads, find_model
    from registry.shelf import Shelf

    known = Shelf.open(catalog).catalog
    try:
        if HEAD_SEPARATOR in name:
            return [head.name for head in find_heads(known, name)], None
        return [find_model(known, name).alias], None
    except UnknownNameError as error:
        return [name], error
