"""`specreg calibrate`: what makes the numbers of a head that is there already true."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from registry.cli.options import as_json, one_head, with_catalog, with_texts
from registry.cli.printing import print_json, print_table
from registry.cli.train import bar

if TYPE_CHECKING:
    from registry.records import Head

BY: Final = {
    "raw": "raw, as published",
    "max_probability": "largest probability, no head",
    "calibrated": "head, calibrated",
    "with_confidence": "head and confidence",
    "before_reading": "confidence, before the token is read",
}


@click.command(
    short_help="Calibrate a head on prompts of your own.",
    epilog="Example: specreg calibrate pico-draft--to--pico-target --prompts p.jsonl",
)
@click.argument("name", metavar="HEAD")
@with_texts
@click.option(
    "--file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The catalog to enter the calibration in. Without it the numbers are printed, and nothing is written.",
)
@click.option("--run", metavar="NAME", help="Which training run, where the head has several.")
@click.option(
    "--device", help="cpu, cuda or cuda:1, as torch names it. Default: the first GPU, else the CPU."
)
@click.option("--dtype", type=click.Choice(["float32", "bfloat16", "float16"]))
@with_catalog
@as_json
def calibrate(name: str, as_json: bool, **options: Any) -> None:
    """Calibrate HEAD on your prompts, for sampled and for greedy texts.

    Heads are published without a calibration: their numbers are too low, since rejections were given more weight in
    training, and they know little of greedy decoding, which they were not trained for. Fitted are a scale and a bias,
    and, for sampled and greedy texts apart, what the head and the source's own confidence say together. With FILE the
    calibration is entered there, over the built-in catalog, and `decode --catalog FILE` uses it. Every figure printed
    is of prompts that the numbers were not fitted on.
    """
    from heads.bench.prompts import read_prompts
    from heads.runtime import load_registered_head
    from heads.training.pair import Pair
    from heads.training.recalibrating import recalibrate
    from registry.editing.entering import enter_calibration
    from registry.shelf import Shelf

    texts = [prompt.text for prompt in read_prompts(options["prompts"])]
    catalogs = _catalogs(options)
    shelf = Shelf.open(catalogs)
    head = one_head(shelf, name, options["run"])
    loaded = load_registered_head(shelf, head)
    ends = [shelf.catalog.models[alias] for alias in (head.source, head.target)]
    pair = Pair(shelf, *ends, device=options["device"], dtype=options["dtype"])
    found = recalibrate(
        pair,
        loaded,
        pair.encoded(texts, chat=options["chat"], new_tokens=options["max_new_tokens"]),
        mismatch_weight=_weight(head),
        max_new_tokens=options["max_new_tokens"],
        seed=options["seed"],
        batch_size=options["batch_size"],
        bar=bar,
    )
    if options["file"] is not None:
        enter_calibration(options["file"], head, found.calibration)
    document = {
        "head": head.name,
        "calibration": found.calibration.model_dump(exclude_none=True),
        "judged": found.judged,
        "file": None if options["file"] is None else str(options["file"]),
    }
    if as_json:
        print_json(document)
        return
    _print(document)


def _catalogs(options: dict[str, Any]) -> tuple[Path, ...] | None:
    """Those named, and the file that gets the numbers, where it is there already."""
    given = tuple(options["catalog"] or ())
    file = options["file"]
    if file is None or not file.exists() or file in given:
        return given or None
    return (*given, file)


def _weight(head: Head) -> float:
    """On rejection, as the run's name tells; what the fit begins with, and no more."""
    from registry.runs import parse_run_name

    return parse_run_name(head.run).mismatch_weight or 1.0


def _print(document: dict[str, Any]) -> None:
    for way, judged in document["judged"].items():
        click.echo(f"{way}: {judged['positions']:,} tokens, of which {judged['kept']:.1%} would be kept")
        rows = [
            (BY[by], f"{worth['log_loss']:.4f}", f"{worth['auc']:.4f}", f"{worth['ece']:.4f}")
            for by, worth in sorted(judged["by"].items(), key=lambda one: list(BY).index(one[0]))
        ]
        print_table(("predicted by", "log loss", "AUC", "calibration error"), rows)
    if document["file"] is not None:
        click.echo(f"{document['file']} has the numbers: `decode --catalog {document['file']}` uses them.")
        return
    click.echo("Nothing was written; --file FILE enters them into a catalog of yours.")
