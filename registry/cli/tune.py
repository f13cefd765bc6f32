"""`specreg tune`: lengths and thresholds for a chain on this machine, by running it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from registry.cli.bars import counted
from registry.cli.compiling import compiled
from registry.cli.memory import say_memory
from registry.cli.options import (
    as_json,
    pipeline_of,
    with_catalog,
    with_law,
    with_loading,
    with_narrowing,
    with_prompts,
)
from registry.cli.printing import print_json, print_table
from registry.cli.recalling import can_be_kept, recalled_measurements
from registry.errors import UsageError

if TYPE_CHECKING:
    from heads.tuning.tuning import Tried


@click.command(
    short_help="Search the fastest draft lengths of a chain by running it.",
    epilog="Example: specreg tune pico-little pico-target --limit 2 --max-new-tokens 48",
)
@click.argument("source")
@click.argument("target")
@with_prompts
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=6,
    show_default=True,
    metavar="N",
    help="Only the first N prompts.",
)
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=96, show_default=True, metavar="N")
@click.option("--repeats", type=click.IntRange(min=1), default=3, show_default=True, metavar="N")
@with_law
@with_loading
@with_narrowing
@with_catalog
@as_json
def tune(source: str, target: str, as_json: bool, **options: Any) -> int:
    """Search the lengths and thresholds with which the chain from SOURCE to TARGET decodes fastest here, by running it.

    The search begins with what `specreg measure` found, or with a grid where nothing was measured. At the end the best
    is compared with the default and with the best fixed length, in turns on the same prompts. The best is stored for
    these checkpoints, this machine, and these options of sampling; `decode` uses it unless told otherwise. Where it
    cannot be stored, the command ends with 2.
    """
    from heads.tuning.run import tune_pipeline

    pipeline = pipeline_of(source, target, options)
    if not pipeline.heads:
        raise UsageError(
            f"{pipeline.target} alone drafts nothing, so there is nothing to tune. Name a chain."
        )
    can_be_kept()
    found, setup, warning = tune_pipeline(
        pipeline,
        options=options,
        measurements=recalled_measurements(),
        bar=compiled if options["engine"] == "fused" else counted,
        said=partial(say_memory, pipeline.models),
    )
    if warning:
        click.echo(f"specreg: {warning}", err=True)
    if as_json:
        told = {"models": list(pipeline.models), "device": str(setup), "kept": not warning}
        print_json({**told, **found.to_json()})
    else:
        print_table(
            ("lengths", "tokens/s", "low", "high", "settings"),
            [
                _line("tuned", found.best),
                _line("default", found.default),
                _line("best fixed", found.fixed),
            ],
        )
        over = f"{found.gain:.2f} times as fast as the default, {found.gain_over_fixed:.2f} times as the best fixed"
        click.echo(
            f"{over} length." + ("" if warning else " Kept for this machine; `decode` uses it."), err=True
        )
    return 2 if warning else 0


def _line(name: str, one: Tried) -> list[str]:
    return [
        name,
        f"{one.tokens_per_second:.1f}",
        f"{one.low:.1f}",
        f"{one.high:.1f}",
        str(one.lengths),
    ]
