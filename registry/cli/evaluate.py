"""`specreg evaluate`: what a head is worth on prompts that it was not trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from registry.cli.options import as_json, one_head, with_catalog, with_texts
from registry.cli.printing import print_facts, print_json
from registry.cli.train import bar
from registry.errors import UsageError

if TYPE_CHECKING:
    from heads import AcceptancePredictionHead
    from registry.records import Model
    from registry.shelf import Shelf


@click.command(
    short_help="Report a head's AUC, Brier score and calibration error.",
    epilog="Example: specreg evaluate pico-draft--to--pico-target --prompts p.jsonl",
)
@click.argument("name", metavar="HEAD|FOLDER")
@with_texts
@click.option("--source", metavar="MODEL", help="Needed where the folder is not named SOURCE--to--TARGET.")
@click.option("--target", metavar="MODEL", help="Needed where the folder is not named SOURCE--to--TARGET.")
@click.option("--run", metavar="NAME", help="Which training run, where the head has several.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help="Write the report to this file as JSON."
)
@click.option(
    "--figure",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw the report into this file: .svg, .png or .pdf.",
)
@click.option(
    "--device", help="cpu, cuda or cuda:1, as torch names it. Default: the first GPU, else the CPU."
)
@click.option("--dtype", type=click.Choice(["float32", "bfloat16", "float16"]))
@with_catalog
@as_json
def evaluate(name: str, as_json: bool, **options: Any) -> None:
    """Judge a head at temperature 1: how well it ranks drafted tokens, and whether its probabilities are true.

    TARGET continues every prompt, and SOURCE drafts. For AUC, Brier score and calibration error a token counts as
    accepted with the probability that TARGET accepts it. `ece` is that of survival, the probability that all tokens of
    a draft so far are accepted, after calibration where the head has one. Give prompts that the head was not trained
    on. HEAD is checked against its record; a FOLDER is read as it is.
    """
    require_places(options["out"], options["figure"])
    from heads.bench.prompts import read_prompts
    from heads.training.judging import judge_head
    from heads.training.pair import Pair
    from registry.files.wholefile import put_whole
    from registry.shelf import Shelf

    texts = [prompt.text for prompt in read_prompts(options["prompts"])]
    shelf = Shelf.open(options["catalog"])
    head, called, source, target = _chosen(shelf, name, options)
    pair = Pair(shelf, source, target, device=options["device"], dtype=options["dtype"])
    _require_width(head, pair.hidden_size, called)
    prompts = pair.encoded(texts, chat=options["chat"], new_tokens=options["max_new_tokens"])
    left_out = len(texts) - len(prompts)
    if left_out:
        click.echo(
            f"specreg: {left_out:,} of {len(texts):,} prompts {'is' if left_out == 1 else 'are'} left out: with "
            f"{options['max_new_tokens']:,} new tokens longer than the {pair.positions:,} positions that both models "
            "were made for.",
            err=True,
        )
    told = {"head": called, "source": source.alias, "target": target.alias, "left_out": left_out}
    report = told | judge_head(
        pair,
        head,
        prompts,
        max_new_tokens=options["max_new_tokens"],
        seed=options["seed"],
        batch_size=options["batch_size"],
        bar=bar,
    )
    if options["out"] is not None:
        try:
            put_whole((json.dumps(report, indent=2) + "\n").encode(), options["out"])
        except OSError as error:
            raise UsageError(
                f"{options['out']} cannot be written: {error.strerror}. Name another file."
            ) from error
    if options["figure"] is not None:
        from heads.training.drawing import draw

        draw(report, options["figure"])
    if as_json:
        print_json(report)
    else:
        _print(report)


def require_places(out: Path | None, figure: Path | None) -> None:
    """Refuse what could not be written at the end before anything is computed."""
    if figure is not None:
        from heads.picture import require_drawable

        require_drawable(figure)
    if out is not None and out.is_dir():
        raise UsageError(f"{out} cannot be written: it is a folder. Name a file.")
    if out is not None and not out.absolute().parent.is_dir():
        raise UsageError(
            f"{out} cannot be written: there is no folder {out.parent}. Make it, or name another."
        )


def _chosen(
    shelf: Shelf, name: str, options: dict[str, Any]
) -> tuple[AcceptancePredictionHead, str, Model, Model]:
    """The head, what it is called, and its two models."""
    from heads import AcceptancePredictionHead
    from heads.runtime import load_registered_head
    from registry.names import find_model
    from registry.records import HEAD_SEPARATOR

    if Path(name).is_dir():
        edge = Path(name).resolve().parent.name
        source, separator, target = edge.partition(HEAD_SEPARATOR)
        ends = [options["source"] or source, options["target"] or (target if separator else "")]
        if not separator and None in (options["source"], options["target"]):
            raise UsageError(
                f"{name} does not lie in SOURCE--to--TARGET/RUN, so nothing tells which models it joins. Give --source "
                "and --target."
            )
        models = [find_model(shelf.catalog, end) for end in ends]
        return AcceptancePredictionHead.from_pretrained(name), str(name), models[0], models[1]
    head = one_head(shelf, name, options["run"])
    source_model, target_model = (shelf.catalog.models[alias] for alias in (head.source, head.target))
    return load_registered_head(shelf, head), head.name, source_model, target_model


def _require_width(head: AcceptancePredictionHead, width: int, called: str) -> None:
    from registry.errors import IncompatibleError

    if head.hidden_size != width:
        raise IncompatibleError(
            subject=called,
            field="hidden_size",
            expected=width,
            found=head.hidden_size,
            next_step="Use a head that was trained on this source.",
        )


def _print(report: dict[str, Any]) -> None:
    """The figures, and by which numbers they are."""
    calibration = report["calibration"]
    told = (
        "raw numbers: the head has no calibration"
        if calibration is None
        else f"scale {calibration['scale']:.4f}, bias {calibration['bias']:.4f}"
    )
    figures = {
        "base rate": report["base_rate"],
        "AUC": report["auc"],
        "AUC of max probability": report["baselines"]["max_probability"]["auc"],
        "AUC of entropy": report["baselines"]["entropy"]["auc"],
        "Brier score": report["brier"],
        "Brier score, raw": report["brier_raw"],
        "calibration error of survival": report["ece"],
        "calibration error of survival, raw": report["ece_raw"],
        "calibration error of tokens": report["ece_token"],
        "calibration error of tokens, raw": report["ece_token_raw"],
    }
    counts = [("head", report["head"]), ("prompts", report["prompts"]), ("positions", report["positions"])]
    print_facts(
        [*counts, *((name, f"{value:.4f}") for name, value in figures.items()), ("calibration", told)]
    )
