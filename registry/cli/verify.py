"""`specreg verify`: what is on this machine, against its record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from registry.cli.options import as_json, with_catalog
from registry.cli.printing import print_json, print_table, shown_status
from registry.records import HEAD_SEPARATOR


@click.command(epilog="Example: specreg verify pico-little--to--pico-draft pico-target")
@click.argument("names", nargs=-1, metavar="[HEAD|MODEL]...")
@click.option("--models", is_flag=True, help="The models on this machine as well.")
@with_catalog
@as_json
def verify(names: tuple[str, ...], models: bool, catalog: tuple[Path, ...], as_json: bool) -> None:
    """Check the heads on this machine, or those named, without the network.

    Every file is compared with its record in catalog.lock (size and sha256) and read as what it should be:
    tensor names and shapes as config.json implies, one floating dtype, finite numbers, the hidden size of
    the source model. Ends with 1 when a fault is found.
    """
    from registry.names import find_heads, find_model
    from registry.shelf import Shelf
    from registry.verify import report_json

    shelf = Shelf.open(catalog)
    chosen_heads: list[Any] = []
    chosen_models: list[Any] = []
    for name in names:
        if HEAD_SEPARATOR in name:
            chosen_heads.extend(find_heads(shelf.catalog, name))
        else:
            chosen_models.append(find_model(shelf.catalog, name))
    if not names:
        chosen_heads = [head for head in shelf.catalog.heads if shelf.head_place(head).folder]
    if models:
        chosen_models += [
            model
            for model in shelf.catalog.models.values()
            if shelf.model_place(model).folder and model not in chosen_models
        ]
    head_reports = [shelf.verify_head(head) for head in dict.fromkeys(chosen_heads)]
    model_reports = [shelf.verify_model(model) for model in chosen_models]
    ok = all(report.ok for report in (*head_reports, *model_reports))
    if as_json:
        print_json(report_json(head_reports, model_reports))
    else:
        for report in (*head_reports, *model_reports):
            _print(report)
        count = len(head_reports) + len(model_reports)
        faulty = sum(not report.ok for report in (*head_reports, *model_reports))
        click.echo(
            f"{count} checked, {faulty} with faults." if count else "Nothing is installed: nothing to check."
        )
    raise click.exceptions.Exit(0 if ok else 1)


def _print(report: Any) -> None:
    click.echo(f"{report.name}: {shown_status('ok' if report.ok else 'fail')}")
    rows = [(file.path, shown_status(file.status), file.detail) for file in report.files]
    rows += [(finding.check, shown_status(finding.status), finding.detail) for finding in report.findings]
    print_table(("file or check", "status", "detail"), rows)
    click.echo()
