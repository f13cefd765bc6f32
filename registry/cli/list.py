"""`specreg list`: what the catalog holds, and what of it is here."""

from __future__ import annotations

from pathlib import Path

import click

from registry.cli.here import check_facts, here
from registry.cli.options import as_json, with_catalog
from registry.cli.printing import print_json, print_table


@click.command(name="list", epilog="Example: specreg list --heads")
@click.option("--models", "only", flag_value="models", help="Models only.")
@click.option("--heads", "only", flag_value="heads", help="Heads only.")
@with_catalog
@as_json
def list_(only: str | None, catalog: tuple[Path, ...], as_json: bool) -> None:
    """List models and heads, and which of them are on this machine.

    'installed' means that the files are here; `specreg verify` checks them. 'verified' and 'faulty' say what it found
    and when; once a file changes, that counts no more, and it is 'installed' again. 'unrecorded' files are here but
    have no record to be compared with, and nothing loads them: `specreg lock`, or a download, makes the record.
    """
    from registry.shelf import Shelf
    from registry.store.view import LastChecks

    shelf = Shelf.open(catalog)
    checks = LastChecks.read()
    models = [
        {
            "model": model.alias,
            "hub": model.hub,
            "package": model.package,
            "path": model.path,
            "hidden_size": model.hidden_size,
            "vocab_size": model.vocab_size,
            "parameters": model.parameters,
            "license": model.license,
            "gated": model.gated,
            "installed": (place := shelf.model_place(model)).folder is not None,
            **check_facts(checks.of("model", model.alias, place)),
            "recorded": model.alias in shelf.lock.models,
        }
        for model in shelf.catalog.models.values()
    ]
    heads = [
        {
            "head": head.name,
            "from": head.from_,
            "installed": (place := shelf.head_place(head)).folder is not None,
            **check_facts(checks.of("head", head.name, place)),
            "recorded": head.name in shelf.lock.heads,
        }
        for head in shelf.catalog.heads
    ]
    if as_json:
        print_json({key: rows for key, rows in (("models", models), ("heads", heads)) if only in (None, key)})
        return
    if only != "heads":
        print_table(
            ("model", "hidden", "parameters", "license", "here", "from"),
            [
                (
                    row["model"],
                    row["hidden_size"],
                    short_count(row["parameters"]),
                    row["license"],
                    here(row),
                    row["hub"] or row["package"] or row["path"],
                )
                for row in models
            ],
        )
    if only is None:
        click.echo()
    if only != "models":
        print_table(
            ("head", "here", "recorded", "source"),
            [
                (
                    row["head"],
                    here(row),
                    "yes" if row["recorded"] else "",
                    row["from"],
                )
                for row in heads
            ],
        )


def short_count(number: object) -> str:
    """596049920 -> '596M'; nothing for an unknown number."""
    if not isinstance(number, int):
        return ""
    for unit, size in (("B", 1e9), ("M", 1e6)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)
