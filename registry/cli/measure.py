"""`specreg measure`: what models take on this machine, and how often they agree."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from registry.cli.bars import counted
from registry.cli.compiling import compiled
from registry.cli.options import as_json, with_catalog, with_loading, with_min_p, with_narrowing, with_prompts
from registry.cli.printing import print_json, print_table
from registry.cli.recalling import can_be_kept
from registry.planning.measured import edge_subject

if TYPE_CHECKING:
    from registry.pipeline import Pipeline
    from registry.planning.law import Law
    from registry.planning.measurement import Measurement

QUERIES: Final = (1, 4, 8, 16)
PROMPTS: Final = 8
NEW_TOKENS: Final = 96


@click.command(
    short_help="Time models and heads here, for `plan` and `decode --auto`.",
    epilog="Example: specreg measure pico-little pico-target --quick",
)
@click.argument("names", nargs=-1, required=True, metavar="MODEL...")
@with_prompts
@click.option(
    "--category", "categories", multiple=True, help="Only prompts of this category; may be repeated."
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=PROMPTS,
    show_default=True,
    metavar="N",
    help="The first N prompts.",
)
@click.option(
    "--max-new-tokens", type=click.IntRange(min=1), default=NEW_TOKENS, show_default=True, metavar="N"
)
@click.option(
    "--temperature", type=click.FloatRange(min=0), help="0 is greedy. Default: both greedy and temperature 1."
)
@click.option("--top-k", type=click.IntRange(min=0), default=0, show_default=True, help="0 keeps all tokens.")
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True)
@with_min_p
@click.option(
    "--quick", is_flag=True, help="Time everything in three short passes instead of five: a first look."
)
@with_loading
@with_narrowing
@with_catalog
@as_json
def measure(names: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Time models and heads on this machine, for `specreg plan`, `specreg tune` and `specreg decode`.

    With one MODEL, how long its forwards take. With two, all models of the chain from the first to the second, or just
    these two where no head leads there: their forwards, what a round of drafting costs besides, and how often the
    models agree on texts of the last one, with what the heads say of them. With three or more, exactly these, smallest
    first. Every pair is measured, so that one run covers all the chains among them. Each result is stored as it comes,
    for these checkpoints, this machine, dtype and engine; where that is not possible a line says so at once, and the
    command ends with 2.
    """
    from heads.measuring.choosing import models_to_measure
    from registry.shelf import Shelf

    narrowing = {name: options[name] for name in ("length", "via", "run")}
    pipeline = models_to_measure(Shelf.open(options["catalog"]), names, **narrowing)
    found, kept = measure_pipeline(pipeline, laws=_laws(options), options=options)
    if as_json:
        print_json({"kept": kept, "measurements": [one.model_dump(mode="json") for one in found]})
    else:
        _print_models(found)
        _print_edges(found)
        if kept:
            click.echo(f"{len(found)} measurements kept, of {found[0].setup}.", err=True)
    return 0 if kept else 2


def measure_pipeline(
    pipeline: Pipeline, *, laws: Sequence[Law], options: Mapping[str, Any]
) -> tuple[list[Measurement], bool]:
    """Measure exactly these models, with the heads that the pipeline has: what was found, and whether the store has it.

    Args:
        pipeline: The models, smallest first.
        laws: By which texts are drawn.
        options: Of the command; what is left out is as by default.
    """
    from heads.bench.prompts import chosen, own_prompts, read_prompts
    from heads.measuring.effort import QUICK, USUAL
    from heads.measuring.measure import measure as measure_all
    from registry.store.remembering import note_measurements

    file = options.get("prompts")
    prompts = own_prompts() if file is None else read_prompts(file)
    kept = can_be_kept()

    def keep(found: list[Measurement]) -> None:
        """Each as it comes; a store that took none is not tried again."""
        nonlocal kept
        if kept and (warning := note_measurements(found)) is not None:
            kept = False
            _say(warning)

    found = measure_all(
        pipeline,
        laws=laws,
        prompts=chosen(
            prompts, categories=options.get("categories", ()), limit=options.get("limit", PROMPTS)
        ),
        max_new_tokens=options.get("max_new_tokens", NEW_TOKENS),
        **{name: options[name] for name in ("device", "dtype", "engine")},
        effort=QUICK if options.get("quick") else USUAL,
        bar=compiled if options["engine"] == "fused" else counted,
        kept=keep,
        said=_say,
    )
    return found, kept


def _laws(options: Mapping[str, Any]) -> list[Law]:
    """The law asked for; else both, the sampled one cut off as asked."""
    from registry.planning.law import Law

    cut = {name: options[name] for name in ("top_k", "top_p", "min_p")}
    asked = options["temperature"]
    return [
        Law(temperature=temperature, **cut) for temperature in ((0.0, 1.0) if asked is None else (asked,))
    ]


def _say(line: str) -> None:
    click.echo(f"specreg: {line}", err=True)


def _print_models(found: Sequence[Measurement]) -> None:
    """What forwards take over a short text, and a token beside them."""
    from registry.planning.timing import ForwardTimes

    rows = []
    seen: dict[str, tuple[str, ...]] = {}
    measured = [one for one in found if one.kind == "forwards"]
    ahead = any(one.document.get("ahead") for one in measured)
    for one in measured:
        times = ForwardTimes.model_validate_json(json.dumps(one.document))
        cached = min((time.cached for time in times.times if time.cached), default=0)
        figures = (
            *(_milliseconds(times.seconds(count, cached)) for count in QUERIES),
            *(_milliseconds(times.outside[way]) for way in ("greedy", "sampled")),
            *(_milliseconds(times.ahead.get(way)) for way in ("greedy", "sampled") if ahead),
        )
        if seen.get(times.model) != figures:  # in both roles alike: once
            rows.append((one.subject, *figures))
        seen[times.model] = figures
    columns = ("model", *(f"ms for {count}" for count in QUERIES), "ms a token besides, greedy", "sampled")
    print_table((*columns, *(("ms a step ahead, greedy", "sampled") if ahead else ())), rows)


def _print_edges(found: Sequence[Measurement]) -> None:
    """What rounds take besides, and acceptance by each law."""
    rounds = {one.subject: one.document for one in found if one.kind == "rounds"}
    if not rounds:
        return
    shares: dict[tuple[str, str], float] = {
        (edge_subject(one.document["source"], one.document["target"]), one.law): one.document["acceptance"]
        for one in found
        if one.kind == "trace"
    }
    laws = list(dict.fromkeys(law for _, law in shares))
    rows = []
    ahead = any(document.get("ahead") for document in rounds.values())
    for edge, document in rounds.items():
        head = document["head_name"]
        rows.append(
            (
                edge,
                "-" if head is None else head.rpartition("/")[2],
                *(_milliseconds(document["verify"][way]) for way in ("greedy", "sampled")),
                _milliseconds(document.get("step", 0.0)),
                *(
                    _milliseconds(document.get("ahead", {}).get(way), 3)
                    for way in ("greedy", "sampled")
                    if ahead
                ),
                *(f"{shares[edge, law]:.3f}" for law in laws),
            )
        )
    click.echo()
    columns = (
        "edge",
        "head",
        "ms a round besides, greedy",
        "sampled",
        "ms a step besides",
        *(("ms a question ahead, greedy", "sampled") if ahead else ()),
        *(f"acceptance, {law}" for law in laws),
    )
    print_table(columns, rows)


def _milliseconds(seconds: float | None, places: int = 2) -> str:
    return "-" if seconds is None else f"{1e3 * seconds:.{places}f}"
