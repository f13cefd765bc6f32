"""`specreg decode`: run a chain."""

from __future__ import annotations

import sys
from typing import Any

import click

from registry.cli.options import as_json, pipeline_of, with_catalog, with_loading, with_narrowing
from registry.cli.printing import print_json


@click.command(epilog='Example: specreg decode pico-little pico-target --prompt "def main():"')
@click.argument("source")
@click.argument("target")
@click.option("--prompt", help="Text to continue; '-' reads it from standard input.")
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=128, show_default=True, metavar="N")
@click.option("--temperature", type=float, default=0.0, show_default=True, help="0 is greedy.")
@click.option("--top-k", type=int, default=0, show_default=True, help="0 keeps all tokens.")
@click.option("--top-p", type=float, default=1.0, show_default=True)
@click.option("--min-p", type=float, default=0.0, show_default=True, help="0 keeps all tokens.")
@click.option("--repetition-penalty", type=float, default=1.0, show_default=True, help="1 is none.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--min-draft", "min_draft", multiple=True, type=int, help="Once, or once per edge from the smallest."
)
@click.option(
    "--max-draft", "max_draft", multiple=True, type=int, help="Once, or once per edge from the smallest."
)
@click.option("--threshold", multiple=True, type=float, help="Drafting stops when 1 - survival exceeds it.")
@click.option(
    "--fixed", type=click.IntRange(min=1), metavar="K", help="Draft K tokens a round and ask no head."
)
@click.option(
    "--schedule",
    type=click.Choice(["heads", "fixed", "heuristic", "top-head"]),
    default="heads",
    show_default=True,
    help="How long to draft: as the heads advise, always --max-draft, two more after full acceptance and one less "
    "otherwise, or by the last head only.",
)
@click.option("--shared-noise", is_flag=True, help="Sample what TARGET alone would with that seed.")
@click.option("--chat", is_flag=True, help="Take the prompt as a user's message, by the chat template.")
@click.option("--stop", multiple=True, metavar="TEXT", help="End at this text; may be repeated.")
@with_loading
@with_narrowing
@with_catalog
@as_json
def decode(source: str, target: str, as_json: bool, **options: Any) -> None:
    """Continue a prompt with the chain from SOURCE to TARGET; SOURCE and TARGET alike decode plainly.

    The text is that of TARGET alone, token for token when greedy and in law when sampled; the smaller
    models only make it faster. Checkpoints are verified before they are loaded.
    """
    settings = _settings(options)
    prompt = _prompt(options["prompt"])
    pipeline = pipeline_of(source, target, options)
    if sys.stderr.isatty():
        click.echo(f"{' -> '.join(pipeline.models)}: verifying and loading", err=True)
    cascade = pipeline.load(device=options["device"], dtype=options["dtype"], engine=options["engine"])
    streamer = None
    if not as_json:
        from heads.runtime import text_streamer

        streamer = text_streamer(cascade)
    begun = [{"role": "user", "content": prompt}] if options["chat"] else prompt
    out = cascade.generate(begun, streamer=streamer, **settings)
    if as_json:
        print_json(generation_document(out))
        return
    sys.stdout.flush()
    click.echo(_summary(out), err=True)


def generation_document(out: Any) -> dict[str, object]:
    """A generation as `decode --json` prints it."""
    return {
        "text": out.text,
        "token_ids": list(out.token_ids),
        "prompt_tokens": out.prompt_tokens,
        "new_tokens": out.new_tokens,
        "seconds": out.seconds,
        "tokens_per_second": out.tokens_per_second,
        "finish_reason": out.finish_reason,
        "levels": [
            {
                "model": level.model,
                "forwards": level.forwards,
                "proposed": level.proposed,
                "accepted": level.accepted,
            }
            for level in out.levels
        ],
    }


def _settings(options: dict[str, Any]) -> dict[str, Any]:
    """Options of `generate`; what the user left out keeps `generate`'s default."""
    settings = {
        key: options[key]
        for key in (
            "max_new_tokens",
            "temperature",
            "top_k",
            "top_p",
            "min_p",
            "seed",
            "shared_noise",
            "schedule",
        )
    }
    settings["repetition_penalty"] = options["repetition_penalty"]
    for key in ("min_draft", "max_draft", "threshold"):
        if options[key]:
            settings[key] = options[key][0] if len(options[key]) == 1 else list(options[key])
    if options["fixed"] is not None:
        if (
            options["threshold"]
            or options["max_draft"]
            or options["min_draft"]
            or options["schedule"] != "heads"
        ):
            raise click.UsageError(
                "--fixed K replaces --schedule, --min-draft, --max-draft and --threshold; give one or the other."
            )
        settings |= {"min_draft": 1, "max_draft": options["fixed"], "schedule": "fixed"}
    if options["stop"]:
        settings["stop"] = list(options["stop"])
    return settings


def _prompt(given: str | None) -> str:
    if given == "-" or (given is None and not sys.stdin.isatty()):
        given = sys.stdin.read()
    if not given:
        raise click.UsageError("A prompt is needed: --prompt TEXT, or text on standard input.")
    return given


def _summary(out: Any) -> str:
    """One line of what each level did."""
    levels = "; ".join(
        f"{level.model} {level.forwards} forwards"
        + ("" if level.proposed is None else f", {level.accepted} of {level.proposed} accepted")
        for level in out.levels
    )
    speed = f"{out.tokens_per_second:.1f}/s, {out.finish_reason}"
    return f"{out.new_tokens} tokens in {out.seconds:.2f} s ({speed}): {levels}"
