"""`specreg decode`: run a chain."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from registry.cli.autoplan import AutoPlan, auto_plan
from registry.cli.bars import counted
from registry.cli.compiling import compiled, say_refusals
from registry.cli.drafted import Drafted, Origin
from registry.cli.memory import say_memory
from registry.cli.options import as_json, pipeline_of, with_catalog, with_loading, with_narrowing, with_room
from registry.cli.printing import print_json
from registry.cli.recalling import recalled_measurements
from registry.errors import GenerationError

if TYPE_CHECKING:
    from heads.tuning.lengths import KnownLengths
    from registry.pipeline import Pipeline
    from registry.planning.law import Law

ENDED: Final = {
    "eos": "ended by an end token",
    "stop": "ended by a stop text",
    "length": "ended at the length asked for",
}


@click.command(
    short_help="Continue a prompt with a chain of models.",
    epilog='Example: specreg decode pico-little pico-target --prompt "def main():"',
)
@click.argument("source")
@click.argument("target", required=False, default=None)
@click.option(
    "--auto",
    is_flag=True,
    help="Take the fastest chain to TARGET, by `specreg plan`, whose files are here, with the lengths and the engine "
    "that it was planned with; SOURCE may be left out.",
)
@click.option("--prompt", help="Text to continue; '-' reads it from standard input.")
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=128, show_default=True, metavar="N")
@click.option("--temperature", type=float, default=0.0, show_default=True, help="0 is greedy.")
@click.option("--top-k", type=int, default=0, show_default=True, help="0 keeps all tokens.")
@click.option("--top-p", type=float, default=1.0, show_default=True)
@click.option("--min-p", type=float, default=0.0, show_default=True, help="0 keeps all tokens.")
@click.option("--repetition-penalty", type=float, default=1.0, show_default=True, help="1 is no penalty.")
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="The same seed gives the same text, on the same engine, device and number of threads.",
)
@click.option(
    "--min-draft",
    "min_draft",
    multiple=True,
    type=int,
    help="Fewest tokens in a draft; given once, or once per pair of neighbours, the smallest models first.",
)
@click.option(
    "--max-draft",
    "max_draft",
    multiple=True,
    type=int,
    help="Most tokens in a draft; given like --min-draft.",
)
@click.option(
    "--threshold",
    multiple=True,
    type=float,
    help="Stop a draft when the probability that any of its tokens is rejected exceeds this; given like --min-draft.",
)
@click.option(
    "--fixed", type=click.IntRange(min=1), metavar="K", help="Draft K tokens a round and ask no head."
)
@click.option(
    "--schedule",
    type=click.Choice(["heads", "fixed", "heuristic", "top-head", "confidence"]),
    default="heads",
    show_default=True,
    help="How long to draft. heads: as the heads advise. fixed: always --max-draft tokens. heuristic: two more after "
    "full acceptance, one less otherwise. top-head: as the last head alone advises. confidence: while the drafting "
    "model is sure of its tokens; needs no head.",
)
@click.option(
    "--shared-noise", is_flag=True, help="Sample the very text that TARGET alone would sample with this seed."
)
@click.option(
    "--chat", is_flag=True, help="Take the prompt as a user's message, and apply the chat template."
)
@click.option("--stop", multiple=True, metavar="TEXT", help="End at this text; may be repeated.")
@with_loading
@with_room
@with_narrowing
@with_catalog
@as_json
def decode(source: str, target: str | None, as_json: bool, auto: bool, **options: Any) -> None:
    """Continue a prompt with the chain from SOURCE to TARGET; with SOURCE and TARGET the same, by that model alone.

    The text is what TARGET alone would write: the same tokens when greedy, the same distribution when sampled. The
    smaller models only make it faster. Every file is verified before it is loaded. How long to draft is taken from the
    options; else from what `specreg tune` found for this chain on this machine; else from what suits the measurements
    of `specreg measure`; else it is 1 to 8 tokens at a threshold of 0.5.
    """
    settings = _settings(options)
    prompt = _prompt(options["prompt"])
    begun = [{"role": "user", "content": prompt}] if options["chat"] else prompt
    planned: AutoPlan | None = None
    origin: Origin = "option" if _says_lengths(options) else "default"
    if auto:
        planned = auto_plan(
            source, target, _law(options), options, device_type=partial(_type_of, options["device"])
        )
        pipeline = planned.pipeline
        options |= planned.loading
        if origin == "default":
            settings, origin = settings | planned.settings, "planned"
    elif target is None:
        raise click.UsageError("SOURCE and TARGET are needed; `--auto TARGET` finds the source by itself.")
    else:
        pipeline = pipeline_of(source, target, options)
    pipeline.require_installed()

    from heads.measuring.setting import setup_of
    from heads.placement import Remedies
    from heads.runtime import load_cascade, load_tokenizer, prompt_length, text_streamer, warm_up
    from heads.settings import lengths_of, read_settings

    edges = len(pipeline.heads)
    read_settings(edges=edges, **settings)  # before anything is read or compiled
    tokenizer = load_tokenizer(pipeline)
    length = prompt_length(begun, tokenizer)
    new = settings["max_new_tokens"] = _new_tokens(options, length)
    cascade = load_cascade(
        pipeline,
        **{name: options[name] for name in ("device", "dtype", "engine", "device_map")},
        max_length=length + new,
        max_draft=max(lengths_of(settings, edges=edges).max_draft, default=1),
        remedies=Remedies(shortest=length + 1),
        tokenizer=tokenizer,
        told=partial(say_memory, pipeline.models),
    )
    if planned is not None and (warning := planned.elsewhere(setup_of(cascade))):
        click.echo(f"specreg: {warning}", err=True)
    if origin != "option" and (known := _known(pipeline, cascade, settings)):
        settings, origin = settings | known.lengths.settings, known.origin
    warm_up(
        cascade,
        begun,
        settings,
        prompt_tokens=length,
        bar=compiled if "fused" in cascade.engines else counted,
    )
    say_refusals(cascade.refusals)
    streamer = None if as_json else text_streamer(cascade)
    out = cascade.generate(begun, streamer=streamer, **settings)
    drafted = Drafted.of(
        pipeline,
        cascade.heads,
        lengths_of(settings, edges=edges),
        schedule=settings["schedule"],
        origin=origin,
        greedy=not settings["temperature"],
    )
    if as_json:
        print_json(generation_document(out) | {"drafting": drafted.to_json()})
        return
    sys.stdout.flush()
    told = [str(drafted)] if drafted.edges else []
    for line in (*told, *([] if planned is None else [str(planned)]), _summary(out)):
        click.echo(line, err=True)


def _type_of(device: str | None) -> str:
    from heads.runtime import device_named

    return device_named(device).type


def _says_lengths(options: dict[str, Any]) -> bool:
    """Whether an option says how long to draft."""
    asked = (options["min_draft"], options["max_draft"], options["threshold"], options["fixed"])
    return any(asked) or options["schedule"] != "heads"


def _law(options: dict[str, Any]) -> Law | None:
    """None where an option is out of range, of which `generate` tells."""
    from registry.planning.law import Law

    try:
        return Law(**{name: options[name] for name in ("temperature", "top_k", "top_p", "min_p")})
    except ValueError:
        return None


def _known(pipeline: Pipeline, cascade: Any, settings: dict[str, Any]) -> KnownLengths | None:
    """Lengths that suit this chain here; None where the store does not tell."""
    from heads.tuning.lengths import known_lengths

    law = _law(settings)
    return None if law is None else known_lengths(pipeline, cascade, law, recalled_measurements())


def _new_tokens(options: dict[str, Any], prompt_tokens: int) -> int:
    """How many may follow a prompt; where --max-length leaves fewer than were asked for, a line says so."""
    asked: int = options["max_new_tokens"]
    longest: int | None = options["max_length"]
    if longest is None or prompt_tokens + asked <= longest:
        return asked
    if prompt_tokens >= longest:
        raise GenerationError(
            option="the prompt",
            expected=f"at most {longest - 1} tokens, since --max-length is {longest}",
            found=prompt_tokens,
            next_step="Shorten the prompt, or raise --max-length.",
        )
    left = longest - prompt_tokens
    click.echo(
        f"specreg: --max-length {longest} leaves room for {left} of {asked} new tokens, since the prompt has "
        f"{prompt_tokens}.",
        err=True,
    )
    return left


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
            or click.get_current_context().get_parameter_source("schedule") is not ParameterSource.DEFAULT
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
    count = "1 token" if out.new_tokens == 1 else f"{out.new_tokens} tokens"
    speed = f"{out.tokens_per_second:.1f}/s, {ENDED[out.finish_reason]}"
    return f"{count} in {out.seconds:.2f} s ({speed}): {levels}"
