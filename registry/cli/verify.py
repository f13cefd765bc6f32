"""`specreg verify`: what is on this machine, against its record, and mended on request."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from registry.cli.options import as_json, with_catalog, with_timeout
from registry.cli.printing import print_json, print_table, shown_status
from registry.errors import NotInstalledError
from registry.records import HEAD_SEPARATOR

if TYPE_CHECKING:
    from registry.hub.repair import RepairReport
    from registry.places import Place
    from registry.report import HeadReport, ModelReport


@click.command(
    short_help="Check the files on this machine against their records.",
    epilog="Example: specreg verify pico-little--to--pico-draft pico-target",
)
@click.argument("names", nargs=-1, metavar="[HEAD|MODEL]...")
@click.option("--models", is_flag=True, help="Check the models on this machine as well.")
@click.option("--repair", is_flag=True, help="Download again what is at fault; this asks the Hub.")
@click.option("-q", "--quiet", is_flag=True, help="One line for each sound head or model; faults in full.")
@with_timeout
@with_catalog
@as_json
def verify(
    names: tuple[str, ...],
    models: bool,
    repair: bool,
    quiet: bool,
    timeout_s: float,
    catalog: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Check the heads on this machine, or those named, without the network.

    Every file is compared with its record in catalog.lock (size and sha256), and its content is checked: tensor names
    and shapes as config.json implies, one floating dtype, finite numbers, the hidden size of the source model, one
    tokenizer and vocabulary on both sides. Ends with 1 when there is a fault, and with 2 when something named is not
    here. A name that stands for several runs means those that are here. What has no record is 'unrecorded': that is no
    fault, and it is not verified.

    --repair downloads again what is at fault, and deletes a file of the Hub's cache that stays bad. For what is in your
    own folders or in a Python package it says what to do. Ends with 1 when a fault is left, with 2 when the Hub could
    not be asked.

    `list` and `show` report the latest outcome, and `store history` all of them.
    """
    from registry.store.remembering import WatchedShelf

    shelf = WatchedShelf.open(catalog)
    heads, bases, missing = _chosen(shelf, names, models)
    if missing is not None and not (heads or bases):
        raise missing
    if repair:
        ok = _repair(shelf, heads, bases, timeout_s, as_json=as_json, quiet=quiet)
    else:
        began = datetime.now(UTC)
        reports = [shelf.verify_head(head) for head in heads], [shelf.verify_model(model) for model in bases]
        _remember(shelf, [(began, [*reports[0], *reports[1]])])
        ok = all(report.ok for report in (*reports[0], *reports[1]))
        if as_json:
            from registry.report import report_json

            print_json(report_json(*reports))
        else:
            _print_all(shelf, (*reports[0], *reports[1]), quiet=quiet)
    if ok and missing is not None:
        raise missing
    raise click.exceptions.Exit(0 if ok else 1)


def _chosen(
    shelf: Any, names: tuple[str, ...], models: bool
) -> tuple[list[Any], list[Any], NotInstalledError | None]:
    """The heads and the models to look at, each once: those named, or all heads here, and all models if asked.

    What is named and not here comes as an error for the end, when all else was looked at.
    """
    from registry.names import find_heads, find_model

    heads: list[Any] = []
    bases: list[Any] = []
    lacking: list[NotInstalledError] = []
    for name in names:
        if HEAD_SEPARATOR in name:
            found = find_heads(shelf.catalog, name)
            runs = [head for head in found if shelf.head_place(head).folder is not None]
            heads += runs
            absent = [head.name for head in found if head not in runs]
            if not runs:
                lacking.append(_lacking(shelf.head_place(found[0]), absent[0]))
            elif absent:
                click.echo(f"specreg: Not on this machine, and not checked: {', '.join(absent)}.", err=True)
        elif shelf.model_place(model := find_model(shelf.catalog, name)).folder is None:
            lacking.append(_lacking(shelf.model_place(model), model.alias))
        else:
            bases.append(model)
    if not names:
        heads = [head for head in shelf.catalog.heads if shelf.head_place(head).folder]
    if models:
        bases += [model for model in shelf.catalog.models.values() if shelf.model_place(model).folder]
    return (
        list(dict.fromkeys(heads)),
        list({model.alias: model for model in bases}.values()),
        lacking[0] if lacking else None,
    )


def _lacking(place: Place, name: str) -> NotInstalledError:
    """The error of what is not here."""
    try:
        place.installed(name)
    except NotInstalledError as error:
        return error
    raise ValueError(name)


def _repair(
    shelf: Any, heads: list[Any], bases: list[Any], timeout_s: float, *, as_json: bool, quiet: bool
) -> bool:
    """Mend, print how things were and are, and tell whether all is sound now."""
    from registry.hub.repair import repair

    bars = sys.stdout.isatty() and not as_json
    began = datetime.now(UTC)
    outcome = repair(shelf, heads, bases, timeout_s=timeout_s, bars=bars)
    before: list[HeadReport | ModelReport] = [*outcome.heads_before, *outcome.models_before]
    # What was mended changed after the first reading, so that only the second one's moment tells of it.
    _remember(shelf, [(began, before), *((at, [one]) for at, one in shelf.readings[len(before) :])])
    if as_json:
        print_json(outcome.to_json())
    else:
        _print_all(shelf, before, quiet=quiet)
        if outcome.repairs:
            _print_repairs(outcome)
    if outcome.error is not None and not outcome.ok:
        raise outcome.error
    return bool(outcome.ok)


def _print_repairs(outcome: RepairReport) -> None:
    """What was done, and how what was mended is now: in full only where it is at fault otherwise than before."""
    click.echo()
    columns = ("repair", "outcome", "detail")
    rows = [
        (done.name, "repaired" if done.repaired else "not repaired", done.detail) for done in outcome.repairs
    ]
    print_table(columns, rows)
    click.echo()
    reports: list[HeadReport | ModelReport] = [*outcome.heads, *outcome.models]
    now = {one.name: one for one in reports}
    after = [now[done.name] for done in outcome.repairs]
    for done, report in zip(outcome.repairs, after, strict=True):
        _print(report, quiet=report.ok or done.after == done.before)
    _sum_up(after, again=True)


def _remember(shelf: Any, readings: Sequence[tuple[datetime, Sequence[Any]]]) -> None:
    """Put what was found into the store; where that cannot be, one word on stderr, and no more tries."""
    from registry.store.remembering import note_verification

    for began, reports in readings:
        warning = note_verification(reports, shelf, checked_at=began)
        if warning is not None:
            click.echo(f"specreg: {warning}", err=True)
            return


def _print_all(shelf: Any, reports: Sequence[HeadReport | ModelReport], *, quiet: bool) -> None:
    for report in reports:
        _print(report, quiet=quiet and report.ok)
    _sum_up(reports)
    unrecorded = [report for report in reports if report.standing == "unrecorded"]
    if unrecorded:
        _tell_of_records(shelf, unrecorded)


def _sum_up(reports: Sequence[HeadReport | ModelReport], *, again: bool = False) -> None:
    faulty = sum(not report.ok for report in reports)
    unrecorded = sum(report.standing == "unrecorded" for report in reports)
    line = f"{len(reports)} checked{' again' if again else ''}, {faulty} with faults"
    line += f", {unrecorded} without a record." if unrecorded else "."
    click.echo(line if reports else "Nothing is installed: nothing to check.")


def _tell_of_records(shelf: Any, unrecorded: Sequence[HeadReport | ModelReport]) -> None:
    """What makes the records that are missing; nothing is loaded without one."""
    from registry.suggested import recording

    places = {report.name: _place(shelf, report.name) for report in unrecorded}
    steps = dict.fromkeys(recording(name, place, catalogs=shelf.given) for name, place in places.items())
    click.echo("Nothing is loaded without a record. Make it: " + "; ".join(steps))


def _place(shelf: Any, name: str) -> Place:
    if HEAD_SEPARATOR not in name:
        place: Place = shelf.model_place(shelf.catalog.models[name])
    else:
        place = shelf.head_place(next(head for head in shelf.catalog.heads if head.name == name))
    return place


def _print(report: HeadReport | ModelReport, *, quiet: bool) -> None:
    """One checkpoint: a line, and all that was looked at where that is wanted."""
    click.echo(f"{report.name}: {shown_status(report.standing)}")
    if quiet:
        return
    rows = [(file.path, shown_status(file.status), file.detail) for file in report.files]
    rows += [(finding.check, shown_status(finding.status), finding.detail) for finding in report.findings]
    print_table(("file or check", "status", "detail"), rows)
    click.echo()
