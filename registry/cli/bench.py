"""`specreg bench`: ways to decode the same text, side by side."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from registry.cli.bars import counted
from registry.cli.compiling import say_refusals
from registry.cli.evaluate import require_places
from registry.cli.memory import say_memory
from registry.cli.options import (
    pipeline_of,
    with_catalog,
    with_loading,
    with_min_p,
    with_narrowing,
    with_prompts,
)
from registry.cli.printing import print_json, print_table
from registry.cli.recalling import recalled_measurements
from registry.errors import UsageError


@click.command(
    short_help="Time a chain against its target alone and its alternatives.",
    epilog="Example: specreg bench pico-little pico-target --category python --limit 2",
)
@click.argument("source")
@click.argument("target")
@with_prompts
@click.option(
    "--category", "categories", multiple=True, help="Only prompts of this category; may be repeated."
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N prompts.")
@click.option(
    "--modes",
    metavar="MODE,...",
    help="Measure only these ways to decode, such as two:heads,direct:fixed; `plain` is always measured.",
)
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=128, show_default=True, metavar="N")
@click.option("--temperature", type=float, default=0.0, show_default=True, help="0 is greedy.")
@click.option("--top-k", type=int, default=0, show_default=True, help="0 keeps all tokens.")
@click.option("--top-p", type=float, default=1.0, show_default=True)
@with_min_p
@click.option("--repeats", type=click.IntRange(min=1), default=3, show_default=True, metavar="N")
@click.option("--min-draft", type=click.IntRange(min=1), help="Fewest tokens in a draft where heads advise.")
@click.option("--max-draft", type=click.IntRange(min=1), help="Most tokens in a draft where heads advise.")
@click.option("--threshold", type=float, help="When a draft stops where heads advise, as for `decode`.")
@click.option(
    "--json",
    "out",
    metavar="FILE",
    help="Write the report to this file as JSON; '-' prints it, and nothing else, to standard output.",
)
@click.option(
    "--figure",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw the report into this file: .svg, .png or .pdf.",
)
@with_loading
@with_narrowing
@with_catalog
def bench(source: str, target: str, **options: Any) -> None:
    """Measure the chain from SOURCE to TARGET against TARGET alone, transformers' assisted generation, and its parts.

    All ways to decode take turns on the same prompts, in one run. A way is named PART:SCHEDULE. The part `two` is the
    last two models, `three` the last three, `direct` SOURCE and TARGET with nothing between. The schedules: `heads`
    drafts as the heads advise; `tuned` does so with the best thresholds of a sweep; `fixed` drafts the best fixed
    length of a sweep; `confidence` asks no head, and stops by the best threshold of a sweep on the drafting model's
    own largest probability; `heuristic` and `top-head` are those of `decode`. `plain` is TARGET alone and always
    eager, `generate` is transformers' own. `predicted` is what `specreg measure` led to expect. `mismatched` counts
    the tokens that differ from plain decoding's.

    With --json FILE an interrupted run continues when the same command is given again. In that report the share of
    heads is null where they are recorded together with the rest of a step, as on a GPU. Ends with 1 when greedy text
    in float32 differs from plain decoding's.
    """
    import json

    out = None if options["out"] in {None, "-"} else Path(options["out"])
    require_places(out, options["figure"])
    from heads.bench.benchmark import Benchmark
    from heads.bench.prompts import chosen, own_prompts, read_prompts
    from heads.bench.remarks import no_remarks
    from heads.bench.systems import Sampling
    from registry.files.wholefile import put_whole

    prompts = own_prompts() if options["prompts"] is None else read_prompts(options["prompts"])
    pipeline = pipeline_of(source, target, options)
    advised = {name: options[name] for name in ("min_draft", "max_draft", "threshold")}
    journal = None if out is None else out.with_name(f"{out.name}.journal")
    benchmark = Benchmark(
        prompts=chosen(prompts, categories=options["categories"], limit=options["limit"]),
        sampling=Sampling(
            **{name: options[name] for name in ("max_new_tokens", "temperature", "top_k", "top_p", "min_p")}
        ),
        modes=options["modes"].split(",") if options["modes"] else None,
        repeats=options["repeats"],
        advised={name: value for name, value in advised.items() if value is not None},
        journal=journal,
        measurements=recalled_measurements(),
        bar=counted,
        said=partial(say_memory, pipeline.models),
    )
    with no_remarks():
        report = benchmark.run(
            pipeline, device=options["device"], dtype=options["dtype"], engine=options["engine"]
        )
    if out is not None:
        try:
            put_whole((json.dumps(report, indent=2) + "\n").encode(), out)
        except OSError as error:
            raise UsageError(
                f"{out} cannot be written: {error.strerror}. What was measured stays in {journal}: mend that, and the "
                "same command goes on."
            ) from error
    if journal is not None:
        journal.unlink(missing_ok=True)
    if options["figure"] is not None:
        from heads.bench.drawing import draw

        draw(report, options["figure"])
    if options["out"] == "-":
        print_json(report)
    else:
        _print(report)
    say_refusals(report["provenance"]["refusals"])
    wrong = [one["mode"] for one in report["systems"] if one["mismatched_tokens"]]
    if wrong and set(report["provenance"]["dtype"]) == {"float32"}:
        click.echo(f"specreg: {', '.join(wrong)} differ from plain decoding.", err=True)
        raise click.exceptions.Exit(1)


def _print(report: dict[str, Any]) -> None:
    """A line for each way to decode."""
    header = (
        "mode",
        "tokens/s",
        "low",
        "high",
        "x plain",
        "predicted",
        "tokens/forward",
        "acceptance",
        "lengths",
        "thresholds",
        "mismatched",
    )
    print_table(header, [_line(one) for one in report["systems"]])


def _predicted(one: dict[str, Any]) -> str:
    """Tokens per second, and how far they are from what came out."""
    foreseen = one["predicted_tokens_per_second"]
    if foreseen is None:
        return "-"
    return f"{foreseen:.1f} ({foreseen / one['tokens_per_second']['median'] - 1:+.0%})"


def _line(one: dict[str, Any]) -> list[str]:
    speed = one["tokens_per_second"]
    acceptance = [f"{share:.2f}" for share in one["acceptance"] or () if share is not None]
    searched = one["mode"].endswith((":fixed", ":tuned", ":confidence"))
    drafted = one["settings"].get("max_draft") if searched else None
    limits = one["settings"].get("threshold") if searched else None
    return [
        one["mode"],
        f"{speed['median']:.1f}",
        f"{speed['low']:.1f}",
        f"{speed['high']:.1f}",
        f"{one['speedup_over_plain']:.2f}",
        _predicted(one),
        f"{one['tokens_per_target_forward']:.2f}",
        " ".join(acceptance) or "-",
        " ".join(map(str, drafted)) if drafted else "-",
        " ".join(map(str, limits)) if limits else "-",
        "-" if one["mismatched_tokens"] is None else str(one["mismatched_tokens"]),
    ]
