"""`specreg verify`: what is on this machine, against its record, and mended on request."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from registry.cli.options import as_json, with_catalog, with_timeout
from registry.cli.printing import print_json, print_table, shown_status
from registry.records import HEAD_SEPARATOR


@click.command(epilog="Example: specreg verify pico-little--to--pico-draft pico-target")
@click.argument("names", nargs=-1, metavar="[HEAD|MODEL]...")
@click.option("--models", is_flag=True, help="The models on this machine as well.")
@click.option("--repair", is_flag=True, help="Fetch again what is at fault; this asks the Hub.")
@with_timeout
@with_catalog
@as_json
def verify(
    names: tuple[str, ...],
    models: bool,
    repair: bool,
    timeout_s: float,
    catalog: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Check the heads on this machine, or those named, without the network.

    Every file is compared with its record in catalog.lock (size and sha256) and read as what it should be:
    tensor names and shapes as config.json implies, one floating dtype, finite numbers, the hidden size of
    the source model, one tokenizer and vocabulary on both sides. Ends with 1 when a fault is found.

    --repair fetches again what is at fault, and deletes a blob of the Hub's cache that stays bad. What lies
    in your own folders or in a Python package is told with what to do. Ends with 1 when a fault is left, with
    2 when the Hub could not be asked.

    `list` and `show` tell of the outcome from then on, and `store history` of all there were.
    """
    from registry.store.remembering import WatchedShelf

    shelf = WatchedShelf.open(catalog)
    heads, bases = _chosen(shelf, names, models)
    if repair:
        _repair(shelf, heads, bases, timeout_s, as_json)
    began = datetime.now(UTC)
    reports = [shelf.verify_head(head) for head in heads], [shelf.verify_model(model) for model in bases]
    _remember(shelf, [(began, [*reports[0], *reports[1]])])
    ok = all(report.ok for report in (*reports[0], *reports[1]))
    if as_json:
        from registry.report import report_json

        print_json(report_json(*reports))
    else:
        _print_all((*reports[0], *reports[1]))
    raise click.exceptions.Exit(0 if ok else 1)


def _chosen(shelf: Any, names: tuple[str, ...], models: bool) -> tuple[list[Any], list[Any]]:
    """The heads and the models to look at, each once: those named, or all heads here, and all models if asked."""
    from registry.names import find_heads, find_model

    heads: list[Any] = []
    bases: list[Any] = []
    for name in names:
        if HEAD_SEPARATOR in name:
            heads.extend(find_heads(shelf.catalog, name))
        else:
            bases.append(find_model(shelf.catalog, name))
    if not names:
        heads = [head for head in shelf.catalog.heads if shelf.head_place(head).folder]
    if models:
        bases += [model for model in shelf.catalog.models.values() if shelf.model_place(model).folder]
    return list(dict.fromkeys(heads)), list({model.alias: model for model in bases}.values())


def _repair(shelf: Any, heads: list[Any], bases: list[Any], timeout_s: float, as_json: bool) -> None:
    """Mend, print how things were and are, and end."""
    from registry.hub.repair import repair

    bars = sys.stdout.isatty() and not as_json
    began = datetime.now(UTC)
    outcome = repair(shelf, heads, bases, timeout_s=timeout_s, bars=bars)
    before = [*outcome.heads_before, *outcome.models_before]
    # What was mended changed after the first reading, so that only the second one's moment tells of it.
    _remember(shelf, [(began, before), *((at, [one]) for at, one in shelf.readings[len(before) :])])
    if as_json:
        print_json(outcome.to_json())
    else:
        _print_all((*outcome.heads_before, *outcome.models_before))
        mended = {done.name for done in outcome.repairs}
        if mended:
            click.echo()
            columns = ("repair", "outcome", "detail")
            rows = [
                (done.name, "repaired" if done.repaired else "not repaired", done.detail)
                for done in outcome.repairs
            ]
            print_table(columns, rows)
            click.echo("\nAfterwards:\n")
            after: list[Any] = [*outcome.heads, *outcome.models]
            _print_all([report for report in after if report.name in mended], again=True)
    if outcome.error is not None and not outcome.ok:
        raise outcome.error
    raise click.exceptions.Exit(0 if outcome.ok else 1)


def _remember(shelf: Any, readings: Sequence[tuple[datetime, Sequence[Any]]]) -> None:
    """Put what was found into the store; where that cannot be, one word on stderr, and no more tries."""
    from registry.store.remembering import note_verification

    for began, reports in readings:
        warning = note_verification(reports, shelf, checked_at=began)
        if warning is not None:
            click.echo(f"specreg: {warning}", err=True)
            return


def _print_all(reports: Sequence[Any], *, again: bool = False) -> None:
    for report in reports:
        _print(report)
    faulty = sum(not report.ok for report in reports)
    checked = f"{len(reports)} checked{' again' if again else ''}, {faulty} with faults."
    click.echo(checked if reports else "Nothing is installed: nothing to check.")


def _print(report: Any) -> None:
    click.echo(f"{report.name}: {shown_status('ok' if report.ok else 'fail')}")
    rows = [(file.path, shown_status(file.status), file.detail) for file in report.files]
    rows += [(finding.check, shown_status(finding.status), finding.detail) for finding in report.findings]
    print_table(("file or check", "status", "detail"), rows)
    click.echo()
