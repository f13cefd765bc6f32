"""`specreg schema`: the JSON Schema of catalog.yaml."""

from __future__ import annotations

import click

from registry.cli.printing import print_json


@click.command(
    short_help="Print the JSON Schema of catalog files.",
    epilog="Example: specreg schema > catalog.schema.json",
)
def schema() -> None:
    """Print the JSON Schema of catalog.yaml, for editors that check and complete as you type."""
    from registry.reading.schema import catalog_json_schema

    print_json(catalog_json_schema())
