"""`specreg import`: the heads of a repository or a folder, as entries of a catalog."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from registry.cli.options import as_json, with_catalog, with_timeout
from registry.cli.printing import print_json

if TYPE_CHECKING:
    from registry.editing.importplan import Answer, Origin, Plan


@click.command(
    short_help="Propose catalog entries for heads that others published.",
    name="import",
    epilog="Example: specreg import ArcticHuaji/specdecpp-acc-heads",
)
@click.argument("given", metavar="REPO|FOLDER")
@click.option("--revision", metavar="REVISION", help="Branch, tag or commit of the repository.")
@click.option(
    "--into", type=click.Path(path_type=Path), metavar="CATALOG", help="Add the entries to this file."
)
@click.option("--source-name", metavar="NAME", help="What the catalog calls the repository or folder.")
@click.option("--training", is_flag=True, help="Put a summary of trainer_state.json into the entries.")
@click.option("--dry-run", is_flag=True, help="Write nothing, even with --into.")
@with_timeout
@with_catalog
@as_json
def import_(
    *,
    given: str,
    revision: str | None,
    into: Path | None,
    source_name: str | None,
    training: bool,
    dry_run: bool,
    timeout_s: float,
    catalog: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Propose catalog entries for the heads in a Hub repository or a folder on this machine.

    Heads are expected in SOURCE--to--TARGET/RUN. Models are matched by alias, Hub id and listed alias; unknown ones are
    asked about on a terminal, and marked elsewhere. Without --into the entries are printed as YAML, and remarks on each
    folder go to stderr. Ends with 1 when a folder with a head's name holds none, or a head does not fit its model:
    these are reported and left out.
    """
    from registry.catalog import load_catalog
    from registry.editing.importing import plan_import
    from registry.editing.importplan import origin_of

    known = load_catalog([*catalog, *([into] if into is not None and into.exists() else [])])
    origin = origin_of(given, revision=revision, base=(into.parent if into else Path()).absolute())
    asking = sys.stdin.isatty() and sys.stdout.isatty() and not as_json

    def plan(collection: Any) -> Plan:
        return plan_import(
            collection,
            origin,
            known,
            source_name=source_name,
            training=training,
            **({"ask": _ask} if asking else {}),
        )

    found, commit = _looked_at(origin, revision, timeout_s, plan)
    text = _written(found, into, dry_run=dry_run)
    written = into is not None and not dry_run and bool(found.new)
    if as_json:
        print_json(_document(found, commit, text, into if written else None))
    else:
        _print(found, to_stderr=into is None)
        if into is None or dry_run:
            click.echo(text if found.new else "", nl=False)
        elif written:
            click.echo(f"written\t{into}\t`specreg lock {into}` records what is new")
    raise click.exceptions.Exit(0 if found.sound else 1)


def _looked_at(origin: Origin, revision: str | None, timeout_s: float, plan: Any) -> tuple[Plan, str | None]:
    """The plan for what lies there now, and the commit where there is one."""
    from registry.editing.collection import folder_collection, hub_collection
    from registry.places import DEFAULT_REVISION

    if origin.folder is not None:
        return plan(folder_collection(origin.folder)), None
    from registry.hub.remote import asked_hub

    with asked_hub(timeout_s=timeout_s) as hub:
        commit = hub.commit_of(origin.where, revision or DEFAULT_REVISION)
        return plan(hub_collection(hub, origin.where, commit)), commit


def _written(found: Plan, into: Path | None, *, dry_run: bool) -> str:
    """The text of the catalog with the entries in it: of `into`, or of a new one that is nowhere."""
    from registry.editing.edits import edit_catalog

    if into is not None:
        if not found.new:
            return ""
        return edit_catalog(into, found.carry_out, create=True, dry_run=dry_run)[0]
    with TemporaryDirectory(prefix="specreg-") as folder:
        return edit_catalog(Path(folder) / "proposed.yaml", found.carry_out, create=True, dry_run=True)[0]


def _ask(name: str, hidden_size: int | None, near: tuple[str, ...]) -> Answer:
    """Ask which model is meant; an empty answer leaves it open."""
    from registry.editing.importplan import Answer

    said = f", hidden size {hidden_size}" if hidden_size else ""
    hint = f" (is it {' or '.join(near)}?)" if near else ""
    question = f"No catalog knows the model {name}{said}{hint}. Its Hub id, empty to skip"
    hub = click.prompt(question, default="", show_default=False, value_proc=_hub_id)
    size = None
    if hub and hidden_size is None:
        size = click.prompt("Its hidden size, 0 to skip", type=click.IntRange(min=0), default=0) or None
    return Answer(hub=hub or None, hidden_size=size)


def _hub_id(typed: str) -> str:
    """What was typed, if it can be a repository; else the question is put again."""
    from registry.reading.fields import REPO

    if typed and not REPO.accepts(typed):
        raise click.BadParameter(f"expected {REPO.expected}.")
    return typed


def _document(found: Plan, commit: str | None, text: str, into: Path | None) -> dict[str, Any]:
    return {
        "from": found.origin.where,
        "commit": commit,
        "source": {"name": found.source_name, "new": found.source is not None, **found.origin.place},
        "models": [
            {"name": one.name, "marked": one.marked, "suggestions": list(one.suggestions), **one.values}
            for one in found.models
        ],
        "heads": [
            {
                "head": one.name,
                "folder": one.folder,
                "status": one.status,
                "detail": one.detail,
                "hidden_size": one.hidden_size,
                "layers": one.layers,
                "pickled": one.pickled,
            }
            for one in found.heads
        ],
        "odd": [{"folder": one.folder, "reason": one.reason} for one in found.odd],
        "yaml": text if found.new else "",
        "written": None if into is None else str(into),
    }


def _print(found: Plan, *, to_stderr: bool) -> None:
    """A line for each head, unknown model and odd folder: what it is, its name, and a word on it."""
    for head in found.heads:
        pickle = "; its weights are a pickle" if head.pickled else ""
        click.echo(f"{head.status}\t{head.name}\t{head.detail}{pickle}", err=to_stderr)
    for model in found.models:
        near = f"; is it {' or '.join(model.suggestions)}?" if model.suggestions else ""
        what = (
            f"no catalog knows it, and it is marked{near}" if model.marked else f"new, {model.values['hub']}"
        )
        click.echo(f"model\t{model.name}\t{what}", err=to_stderr)
    for odd in found.odd:
        click.echo(f"odd\t{odd.folder}\t{odd.reason}", err=to_stderr)
    if not found.heads and not found.odd:
        click.echo(f"none\t{found.origin.where}\tno heads lie there", err=to_stderr)
