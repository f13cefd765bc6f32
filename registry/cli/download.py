"""`specreg download`: heads, and the models they join, from the Hub to this machine."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from registry.cli.bars import Bars
from registry.cli.options import as_json, with_catalog, with_narrowing
from registry.cli.printing import print_json
from registry.records import HEAD_SEPARATOR


@click.command(
    short_help="Download and check the heads of a chain, and its models.",
    epilog="Example: specreg download qwen3-0.6b qwen3-14b --dry-run",
)
@click.argument("names", nargs=-1, metavar="SOURCE TARGET | HEAD... | MODEL")
@click.option("--all", "every", is_flag=True, help="Download every head of the catalog.")
@click.option("--models", is_flag=True, help="Download the base models as well.")
@click.option("--dry-run", is_flag=True, help="Only show what would be fetched, and how many bytes.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Give up when no byte has arrived for so long, waits and retries included.",
)
@with_narrowing
@with_catalog
@as_json
def download(
    *,
    names: tuple[str, ...],
    every: bool,
    models: bool,
    dry_run: bool,
    timeout_s: float,
    catalog: tuple[Path, ...],
    as_json: bool,
    **narrowing: Any,
) -> None:
    """Download and check the heads of the chain from SOURCE to TARGET, or the heads named (A--to--B[/RUN]).

    With --models the models that they join come too, and MODEL alone brings just that one. Files go into the Hub's own
    cache, at one commit, several at once. Every byte is compared with catalog.lock; where that has no entry, with the
    Hub's own digests, which a line says, and which become the record. A head appears in the cache only when all of its
    files are right. Files that are here and as recorded are not downloaded again, and an interrupted download
    continues. Ends with 1 when a file is not what it should be, with 2 when the Hub could not be asked.
    """
    from registry.hub.download import download as run
    from registry.shelf import Shelf
    from registry.store.remembering import note_download

    shelf = Shelf.open(catalog)
    heads, joined = _chosen(shelf, names, narrowing, every=every, models=models)
    with ExitStack() as stack:
        bars = stack.enter_context(Bars()) if sys.stderr.isatty() and not (as_json or dry_run) else None
        report = run(
            shelf,
            heads,
            joined if models else (),
            dry_run=dry_run,
            quick=True,
            timeout_s=timeout_s,
            progress=None if as_json or (sys.stdout.isatty() and bars) else _print_file,
            meter=None if bars is None else bars.told,
            bars=False,
        )
    if not dry_run:
        shelf.reload()  # with what was recorded just now
    warning = note_download(report, shelf)
    if warning is not None:
        click.echo(f"specreg: {warning}", err=True)
    if as_json:
        print_json(report.to_json())
    else:
        _print_summary(report)
        _print_where_others_are(report, shelf)


def _chosen(
    shelf: Any, names: tuple[str, ...], narrowing: dict[str, Any], *, every: bool, models: bool
) -> tuple[list[Any], list[Any]]:
    """The heads that the names call, and the models that these join."""
    from registry.names import find_heads, find_model
    from registry.pipeline import find_chain
    from registry.suggested import fetching

    if every and names:
        raise click.UsageError("--all stands for every head: give no names with it.")
    if every or (names and all(HEAD_SEPARATOR in name for name in names)):
        if any(narrowing.values()):
            raise click.UsageError(
                "--length, --via and --run choose a chain: give SOURCE and TARGET with them."
            )
        named = [head for name in names for head in find_heads(shelf.catalog, name)]
        heads = list(shelf.catalog.heads) if every else named
        aliases = dict.fromkeys(alias for head in heads for alias in (head.source, head.target))
        return heads, [shelf.catalog.models[alias] for alias in aliases]
    if len(names) == 1:
        model = find_model(shelf.catalog, names[0])
        if not models or any(narrowing.values()):
            raise click.UsageError(
                f"{model.alias} is a model, not a chain. `{fetching(model.alias, catalogs=shelf.given)}` downloads it; "
                "give a second model to download the heads between them."
            )
        return [], [model]
    if len(names) != 2 or any(HEAD_SEPARATOR in name for name in names):
        raise click.UsageError(
            "Give two models, SOURCE and TARGET, or one or more heads (A--to--B[/RUN]), or one model with --models, "
            "or --all."
        )
    chain = find_chain(shelf, *names, **{**narrowing, "via": narrowing["via"] or None})
    return list(chain.heads), list(chain.models)


def _print_file(outcome: Any, file: Any) -> None:
    click.echo(f"{file.status}\t{outcome.name}/{file.path}\t{file.size_bytes} bytes")


def _print_summary(report: Any) -> None:
    for outcome in (*report.heads, *report.models):
        if outcome.source != "hub":
            click.echo(f"{outcome.name}: in {outcome.folder}, nothing to download.")
            continue
        click.echo(f"{outcome.name}: commit {outcome.commit}, {outcome.folder}")
        if outcome.recorded_in is not None:
            click.echo(f"{outcome.name}: {_trusted(outcome, dry_run=report.dry_run)}")
        if outcome.pickled:
            step = (
                f" `specreg convert {outcome.name}` makes safetensors of it."
                if outcome.kind == "head"
                else ""
            )
            click.echo(f"{outcome.name}: its weights are a pickle, which is not loaded as it is.{step}")
    if all(outcome.source != "hub" for outcome in (*report.heads, *report.models)):
        return
    count = sum(file.status != "here" for file in report.files)
    here = len(report.files) - count
    noun = "file" if count == 1 else "files"
    verb = "would be fetched" if report.dry_run else "fetched"
    click.echo(f"{count} {noun} {verb}, {report.moved_bytes} bytes; {here} here already.")


def _print_where_others_are(report: Any, shelf: Any) -> None:
    """Of heads that stay at the commit they were first fetched at: what to ask if it is to be a later one."""
    from registry.command import command

    kept = {
        one.name
        for one in report.heads
        if one.checked_against == "downloaded.lock" and all(file.status == "here" for file in one.files)
    }
    sources = dict.fromkeys(head.from_ for head in shelf.catalog.heads if head.name in kept)
    if sources and not report.dry_run:
        step = command("discover", *sources, catalogs=shelf.given)
        click.echo(f"`{step}` tells whether the Hub holds others now, and how to take them in.")


def _trusted(outcome: Any, *, dry_run: bool) -> str:
    """What stands for the bytes of a checkpoint that no catalog's lock has an entry for."""
    record = outcome.recorded_in
    if outcome.checked_against == "downloaded.lock":
        return f"checked against {record}, which was made from the Hub's own digests."
    how = (
        f"it would be checked against the Hub's own digests, and recorded in {record}."
        if dry_run
        else f"it was checked against the Hub's own digests, and is now recorded in {record}."
    )
    return f"no entry in catalog.lock: {how}"
