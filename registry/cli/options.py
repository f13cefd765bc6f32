"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from registry.pipeline import Pipeline
    from registry.records import Head
    from registry.shelf import Shelf

Command = Callable[..., Any]


def as_json(command: Command) -> Command:
    """`--json`: one JSON document on stdout, nothing else."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(command)


def with_catalog(command: Command) -> Command:
    """`--catalog FILE`, repeatable: over the built-in catalog and those of SPECREG_CATALOG."""
    return click.option(
        "--catalog",
        "catalog",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="A catalog to lay over the built-in one; may be given several times.",
    )(command)


def with_timeout(command: Command) -> Command:
    """`--timeout SECONDS`: how long the Hub may say nothing."""
    return click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(min=0, min_open=True),
        default=60.0,
        show_default=True,
        metavar="SECONDS",
        help="Give up when no byte has arrived for so long.",
    )(command)


def with_loading(command: Command) -> Command:
    """`--device`, `--dtype` and `--engine`: where and how models are run."""
    for option in (
        click.option(
            "--engine",
            type=click.Choice(["eager", "captured", "fused"]),
            help="How models are run: as transformers runs them, by graphs recorded once over a cache of fixed size, "
            "or by graphs of kernels that torch.compile makes. Default: captured on a GPU, else eager.",
        ),
        click.option("--dtype", type=click.Choice(["float32", "bfloat16", "float16"])),
        click.option(
            "--device", help="cpu, cuda or cuda:1, as torch names it. Default: the first GPU, else the CPU."
        ),
    ):
        command = option(command)
    return command


def with_prompts(command: Command) -> Command:
    """`--prompts FILE`: what texts begin with."""
    return click.option(
        "--prompts",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="JSONL, each line an object with `prompt`, or `turns` as in Spec-Bench and MT-Bench. Default: a small set "
        "of our own.",
    )(command)


def with_texts(command: Command) -> Command:
    """`--prompts` and what the target says after them: the texts that a head is held against."""
    for option in (
        click.option("--seed", type=int, default=0, show_default=True),
        click.option(
            "--batch-size",
            type=click.IntRange(min=1),
            default=32,
            show_default=True,
            help="How many prompts are continued at a time.",
        ),
        click.option(
            "--max-new-tokens", type=click.IntRange(min=1), default=128, show_default=True, metavar="N"
        ),
        click.option(
            "--chat", is_flag=True, help="Take each prompt as a user's message, and apply the chat template."
        ),
        click.option(
            "--prompts",
            required=True,
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="JSONL, each line an object with `prompt`, or `turns` as in Spec-Bench and MT-Bench.",
        ),
    ):
        command = option(command)
    return command


def with_law(command: Command) -> Command:
    """`--temperature`, `--top-k`, `--top-p` and `--min-p`: how texts are drawn."""
    for option in (
        with_min_p,
        click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True),
        click.option(
            "--top-k", type=click.IntRange(min=0), default=0, show_default=True, help="0 keeps all tokens."
        ),
        click.option(
            "--temperature",
            type=click.FloatRange(min=0),
            default=0.0,
            show_default=True,
            help="0 is greedy.",
        ),
    ):
        command = option(command)
    return command


def with_min_p(command: Command) -> Command:
    """`--min-p` alone."""
    return click.option(
        "--min-p",
        type=click.FloatRange(0, 1),
        default=0.0,
        show_default=True,
        help="0 keeps all tokens.",
    )(command)


def with_room(command: Command) -> Command:
    """`--device-map` and `--max-length`: where a large target lies, and how long a text there must be room for."""
    for option in (
        click.option(
            "--max-length",
            type=click.IntRange(min=2),
            metavar="N",
            help="Most tokens of prompt and text together. Default: those of the prompt and --max-new-tokens.",
        ),
        click.option(
            "--device-map",
            type=click.Choice(["auto"]),
            help="Spread the target over all GPUs and the host; the other models go where its first layers are.",
        ),
    ):
        command = option(command)
    return command


def with_narrowing(command: Command) -> Command:
    """`--length`, `--via` and `--run`: which of several chains."""
    for option in (
        click.option(
            "--run",
            metavar="NAME",
            help="Take the heads of this training run, wherever a pair of models has one.",
        ),
        click.option(
            "--via",
            multiple=True,
            metavar="MODEL",
            help="A model that the chain must pass through; may be repeated.",
        ),
        click.option(
            "--length", type=click.IntRange(min=1), metavar="N", help="Only chains of exactly N models."
        ),
    ):
        command = option(command)
    return command


def pipeline_of(source: str, target: str, options: Mapping[str, Any]) -> Pipeline:
    """The pipeline that `with_narrowing` and `with_catalog` describe."""
    from registry.pipeline import resolve_pipeline

    return resolve_pipeline(
        source,
        target,
        length=options["length"],
        via=options["via"] or None,
        run=options["run"],
        catalog=options["catalog"],
    )


def one_head(shelf: Shelf, name: str, run: str | None) -> Head:
    """The one head that a name and `--run` tell.

    Raises:
        UnknownNameError: no head of that name.
        UsageError: several have it.
    """
    from registry.errors import UsageError
    from registry.names import find_heads

    known = find_heads(shelf.catalog, name)
    found = [head for head in known if run in {None, head.run}]
    if len(found) != 1:
        runs = ", ".join(head.name for head in known)
        raise UsageError(f"{name} does not tell one head: name one of {runs}.")
    return found[0]
