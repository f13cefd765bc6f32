"""`specreg train`: make a head for two models."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from registry.cli.options import as_json, with_catalog
from registry.cli.printing import print_facts, print_json
from registry.command import command

CATALOG = "catalog.yaml"
WARPER = ("temperature", "top_k", "top_p")


@click.command(
    short_help="Train a head for a pair of models.",
    epilog="Example: specreg train mine qwen3-14b --prompts p.jsonl --run r --out o",
)
@click.argument("source")
@click.argument("target")
@click.option(
    "--prompts",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="JSONL, each line an object with `prompt`, or `turns` as in Spec-Bench and MT-Bench.",
)
@click.option("--run", required=True, metavar="NAME", help="Name of the training run.")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="The folder of your heads; the new one goes below it.",
)
@click.option(
    "--file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The catalog to enter the head in. Default: the last of SPECREG_CATALOG, else catalog.yaml in FOLDER.",
)
@click.option(
    "--chat", is_flag=True, help="Take each prompt as a user's message, and apply the chat template."
)
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=128, show_default=True, metavar="N")
@click.option("--temperature", type=float, default=1.0, show_default=True, help="0 is greedy.")
@click.option("--top-k", type=int, default=0, show_default=True, help="0 keeps all tokens.")
@click.option("--top-p", type=float, default=1.0, show_default=True)
@click.option(
    "--labels",
    type=click.Choice(["branch", "row"]),
    default="branch",
    show_default=True,
    help="How drafted tokens are read: each after the text's own tokens (branch), or all in one row, one after "
    "another, as the published training does (row).",
)
@click.option(
    "--mixing-ratio",
    type=float,
    help="With --labels row: the share of the text's own tokens in it, which the loss leaves out. [0.15]",
)
@click.option("--layers", type=click.IntRange(0, 64), default=3, show_default=True, metavar="N")
@click.option("--shared-block", is_flag=True, help="Use one block --layers times, as the original code does.")
@click.option(
    "--mismatch-weight",
    type=click.FloatRange(min=0, min_open=True),
    default=6.0,
    show_default=True,
    help="How much more a rejection weighs in the loss than an acceptance.",
)
@click.option("--epochs", type=click.FloatRange(min=0, min_open=True), default=3.0, show_default=True)
@click.option(
    "--learning-rate",
    type=click.FloatRange(min=0, min_open=True),
    help="Default: the wider the model, the lower.",
)
@click.option(
    "--positions",
    type=click.IntRange(min=1),
    default=512,
    show_default=True,
    help="How many positions a training step takes.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="How many prompts are continued at a time.",
)
@click.option(
    "--held-out",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.1,
    show_default=True,
    help="The share of the prompts that is kept for evaluation and calibration.",
)
@click.option("--no-calibration", is_flag=True, help="Do not calibrate the head on the prompts held out.")
@click.option(
    "--license", default="mit", show_default=True, metavar="ID", help="The license of the head, for its card."
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--device", help="cpu, cuda or cuda:1, as torch names it. Default: the first GPU, else the CPU."
)
@click.option("--dtype", type=click.Choice(["float32", "bfloat16", "float16"]))
@with_catalog
@as_json
def train(source: str, target: str, as_json: bool, **options: Any) -> None:
    """Train a head that predicts whether TARGET will accept the tokens that SOURCE drafts.

    In three steps. TARGET continues every prompt. At each position SOURCE drafts; its hidden state is kept, and the
    probability that TARGET accepts. A head is trained on these. An interrupted run continues when the same command is
    given again. The head goes to SOURCE--to--TARGET/NAME in FOLDER, laid out as published; the catalog gets an entry
    and its lock a record, so that `decode` can use the head at once.
    """
    from heads.bench.prompts import read_prompts
    from heads.training.learning import HeadTraining
    from heads.training.making import HeadMaking
    from heads.training.order import Order
    from heads.training.room import room_told
    from heads.training.warper import Warper
    from registry.names import find_model
    from registry.shelf import Shelf

    if options["mixing_ratio"] is not None and options["labels"] != "row":
        raise click.UsageError("--mixing-ratio is of --labels row: branches hold no token of the text.")
    file = options["file"] or _own_catalog(options["out"])
    shelf = Shelf.open([*options["catalog"], *([file] if file.exists() else [])])
    order = Order(
        source=find_model(shelf.catalog, source),
        target=find_model(shelf.catalog, target),
        run=options["run"],
        prompts=tuple(prompt.text for prompt in read_prompts(options["prompts"])),
        warper=Warper(**{name: options[name] for name in WARPER}),
        mixing_ratio=0.15 if options["mixing_ratio"] is None else options["mixing_ratio"],
        calibrate=not options["no_calibration"],
        training=HeadTraining(
            num_layers=options["layers"],
            mismatch_weight=options["mismatch_weight"],
            epochs=options["epochs"],
            batch_size=options["positions"],
            learning_rate=options["learning_rate"],
            shared_block=options["shared_block"],
            seed=options["seed"],
        ),
        **{
            name: options[name]
            for name in ("chat", "max_new_tokens", "labels", "held_out", "batch_size", "seed", "license")
        },
    )
    with room_told(options["out"], "What the training leaves"):
        outcome = HeadMaking(
            shelf,
            order,
            options["out"],
            file=file,
            device=options["device"],
            dtype=options["dtype"],
            say=lambda line: click.echo(line, err=True),
            bar=bar,
        ).run()
    if as_json:
        print_json(_document(outcome))
    else:
        _print(outcome, [*options["catalog"], outcome.catalog])
    if order.held_out and not outcome.evaluation:
        _warn_unjudged(outcome)


@contextmanager
def bar(total: int, what: str) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal, nothing elsewhere; told how much is done."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.update(task, completed=done)


def _own_catalog(out: Path) -> Path:
    """The user's catalog as `specreg catalog` finds it; without one, one in the folder of heads."""
    from registry.catalog import ENVIRONMENT
    from registry.editing.edits import catalog_to_edit

    named = any(part.strip() for part in os.environ.get(ENVIRONMENT, "").split(os.pathsep))
    return catalog_to_edit(None) if named else out / CATALOG


def _document(outcome: Any) -> dict[str, Any]:
    calibration = outcome.calibration
    return {
        "head": outcome.head.name,
        "folder": str(outcome.folder),
        "catalog": str(outcome.catalog),
        "work": str(outcome.work),
        "calibration": None if calibration is None else calibration.model_dump(),
        "evaluation": outcome.evaluation or None,
        "costs": outcome.costs,
    }


def _warn_unjudged(outcome: Any) -> None:
    """Of a head that was compared with nothing nobody knows what it is worth."""
    positions = outcome.costs.get("positions")
    trained = "" if positions is None else f" It learned from {positions:,} positions."
    click.echo(
        f"specreg: nothing was held out, so this head is neither evaluated nor calibrated.{trained} Give more "
        "prompts, or a larger --held-out.",
        err=True,
    )


def _print(outcome: Any, catalogs: Sequence[Path]) -> None:
    """Where the head is and what it is worth; then, on stderr, how to use it."""
    told, costs = outcome.evaluation, outcome.costs
    calibration = outcome.calibration
    seconds = costs.get("seconds", {})
    per_thousand = 1000 / max(costs.get("prompts", 1), 1)
    print_facts(
        [
            ("head", outcome.head.name),
            ("folder", outcome.folder),
            ("catalog", outcome.catalog),
            ("held-out positions", told.get("positions")),
            ("AUC", _short(told.get("auc"))),
            (
                "AUC of max probability",
                _short(told.get("baselines", {}).get("max_probability", {}).get("auc")),
            ),
            ("AUC of entropy", _short(told.get("baselines", {}).get("entropy", {}).get("auc"))),
            ("calibration error, raw", _short(told.get("ece"))),
            ("calibration error, calibrated", _short(told.get("ece_calibrated"))),
            (
                "calibration",
                None
                if calibration is None
                else f"scale {calibration.scale:.4f}, bias {calibration.bias:.4f}",
            ),
            ("feature bytes per 1,000 prompts", round(costs.get("feature_bytes", 0) * per_thousand)),
            *(
                (f"seconds of {name} per 1,000 prompts", f"{value * per_thousand:.1f}")
                for name, value in seconds.items()
            ),
        ]
    )
    head = outcome.head
    decode = command(
        "decode", head.source, head.target, "--length", "2", "--run", head.run, catalogs=catalogs
    )
    click.echo(
        f'Use it: {decode} --prompt "..."\nThe steps are kept in {outcome.work}; that folder may be deleted.',
        err=True,
    )


def _short(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"
