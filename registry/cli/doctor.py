"""`specreg doctor`: what is wrong with a chain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from registry.cli.bars import counted
from registry.cli.options import as_json, with_catalog, with_loading, with_narrowing, with_prompts
from registry.cli.printing import print_json, print_table, styled

if TYPE_CHECKING:
    from heads.doctor.check import Check, Examination

COLOURS = {"ok": "green", "warning": "yellow", "fault": "red", "unknown": "yellow"}


@click.command(
    short_help="Find out why a chain accepts so little, or is slow.",
    epilog="Example: specreg doctor pico-little pico-target --limit 2",
)
@click.argument("source")
@click.argument("target")
@with_prompts
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    metavar="N",
    help="Only the first N prompts.",
)
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=64, show_default=True, metavar="N")
@click.option(
    "--chat", is_flag=True, help="Take each prompt as a user's message, and apply the chat template."
)
@with_loading
@with_narrowing
@with_catalog
@as_json
def doctor(source: str, target: str, as_json: bool, **options: Any) -> None:
    """Find out what is wrong with the chain from SOURCE to TARGET: why so little is accepted, or why it is slow.

    Checked are: files against their records; whether heads, tokenizers and vocabularies fit; dtypes and quantised
    weights; how well each model predicts texts of TARGET; how much of its drafts is kept, beside what was recorded;
    whether each head belongs to its pair of models; greedy text against plain decoding; and speed, beside what
    `specreg measure` led to expect. Each fault comes with its likely cause and the next step. `list`, `show` and `store
    history` report the outcome for the files from then on. Ends with 0 when there are at most warnings, with 1 when
    there is a fault, and with 2 when it could not look.
    """
    from heads.bench.prompts import chosen, own_prompts, read_prompts
    from heads.doctor.examine import examine
    from registry.store.remembering import WatchedShelf, note_readings

    file = options["prompts"]
    prompts = own_prompts() if file is None else read_prompts(file)
    shelf = WatchedShelf.open(options["catalog"])
    try:
        found = examine(
            shelf,
            source,
            target,
            prompts=chosen(prompts, limit=options["limit"]),
            **{name: options[name] for name in ("length", "via", "run", "chat", "max_new_tokens")},
            **{name: options[name] for name in ("device", "dtype", "engine")},
            bar=counted,
        )
    finally:
        warning = note_readings(shelf)
        if warning is not None:
            click.echo(f"specreg: {warning}", err=True)
    if as_json:
        print_json(found.to_json())
    else:
        _print(found)
    raise click.exceptions.Exit(0 if found.ok else 1)


def _print(found: Examination) -> None:
    click.echo(" -> ".join(found.models) + ("" if found.device is None else f", on {found.device}"))
    click.echo()
    print_table(
        ("check", "status", "subject", "found"),
        [
            (one.check, styled(one.status, COLOURS[one.status]), one.subject, one.found)
            for one in found.checks
        ],
    )
    for one in found.of("fault", "warning", "unknown"):
        _explain(one)
    click.echo()
    faults, warnings = len(found.of("fault")), len(found.of("warning"))
    click.echo(f"{len(found.checks)} checks, {faults} with faults, {warnings} with warnings.")


def _explain(one: Check) -> None:
    """Cause and next step of what is off; of what is unknown only the step."""
    if one.cause is None and one.next is None:
        return
    click.echo()
    click.echo(f"{one.check} of {one.subject}: {styled(one.status, COLOURS[one.status])}")
    for name, value in (("expected", one.expected), ("cause", one.cause), ("next", one.next)):
        if value is not None:
            click.echo(f"  {name}: {value}")
