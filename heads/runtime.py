"""A pipeline, loaded: models and heads, each checked against its record before it is used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from transformers import TextStreamer
from transformers.utils import logging

from heads.cascade import Cascade
from heads.checkpoint import PICKLE, load_head
from heads.convert import convert_head
from heads.engines.choice import read_engine
from heads.head import AcceptancePredictionHead
from heads.models import load_registered_model, load_registered_tokenizer, require_loadable
from registry.errors import NotInstalledError, UsageError
from registry.files.filenames import CALIBRATION, CONFIG, WEIGHTS
from registry.records import Head
from registry.verify import read_verified

if TYPE_CHECKING:
    from registry.pipeline import Pipeline
    from registry.shelf import Shelf

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_cascade(
    pipeline: Pipeline, *, device: str | None = None, dtype: str | None = None, engine: str | None = None
) -> Cascade:
    """Load every model and head of a pipeline into one cascade.

    Args:
        pipeline: A resolved chain whose checkpoints are on this machine.
        device: As torch names it; the first GPU when None and there is one, else the CPU.
        dtype: 'float32', 'bfloat16' or 'float16'; float32 on a CPU and the stored one on a GPU when None.
        engine: 'eager', 'captured' or 'fused'; captured on a GPU and eager on a CPU when None.

    Raises:
        NotInstalledError: A model or head is not on this machine.
        CheckpointError: No record, a file that is not what its record says, a model whose weights are a pickle, or a
            tensor that does not fit.
        UsageError: No such device, dtype or engine here.
    """
    asked = read_engine(engine)
    where = device_named(device)
    kind = dtype_named(dtype, where)
    shelf = pipeline.shelf
    _require_all(pipeline)
    require_loadable(shelf, pipeline.chain.models)
    heads = [load_registered_head(shelf, head).to(where) for head in pipeline.chain.heads]
    with no_bars():
        models = [
            load_registered_model(shelf, model, device=where, dtype=kind) for model in pipeline.chain.models
        ]
    tokenizer = load_registered_tokenizer(shelf, pipeline.chain.models[-1])
    return Cascade(models=models, heads=heads, tokenizer=tokenizer, names=pipeline.models, engine=asked)


def load_registered_head(shelf: Shelf, head: Head) -> AcceptancePredictionHead:
    """The head whose very bytes match the record; a pickle's are converted first, with a word on stderr.

    Its calibration is the catalog's, which a reviewer sees, before the one recorded beside it.
    """
    folder = shelf.head_place(head).installed(head.name)
    entry = shelf.lock.heads.get(head.name)
    pickled = not (folder / WEIGHTS).exists() and (folder / PICKLE).exists()
    kept = [CALIBRATION] if entry is not None and CALIBRATION in entry.files else []
    names = (CONFIG, *kept) if pickled else (CONFIG, WEIGHTS, *kept)
    files = read_verified(folder, entry, names, subject=head.name)
    weights = convert_head(shelf, head, must_keep=False).weights if pickled else files[WEIGHTS]
    loaded = load_head(
        files[CONFIG],
        weights,
        calibration=files.get(CALIBRATION),
        file=str(folder / (PICKLE if pickled else WEIGHTS)),
        pickled=pickled,
    )
    loaded.calibration = head.calibration or loaded.calibration
    return loaded


def text_streamer(cascade: Cascade) -> TextStreamer:
    """Prints new text to stdout as it is settled."""
    return TextStreamer(cascade.tokenizer, skip_prompt=True)  # type: ignore[arg-type]


def _require_all(pipeline: Pipeline) -> None:
    """Say at once everything that is missing."""
    shelf = pipeline.shelf
    places = {model.alias: shelf.model_place(model) for model in pipeline.chain.models}
    places |= {head.name: shelf.head_place(head) for head in pipeline.chain.heads}
    missing = {name: place.looked_in for name, place in places.items() if place.folder is None}
    if missing:
        raise NotInstalledError(
            subject=", ".join(missing),
            where=", ".join(dict.fromkeys(missing.values())),
            next_step=f"`specreg download {pipeline.models[0]} {pipeline.target} --models` fetches all of it.",
        )


@contextmanager
def no_bars() -> Iterator[None]:
    """Without transformers' progress bars, which would stand between the lines of a command."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def device_named(name: str | None) -> torch.device:
    """The device of that name; without one the first GPU, or the CPU where there is none. Raises UsageError."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"No device {name!r} here: {reason}. Expected 'cpu', or 'cuda' where torch finds a GPU."
        ) from error
    return device


def dtype_named(name: str | None, device: torch.device) -> torch.dtype | str:
    """The dtype of that name; without one float32 on a CPU, and on a GPU 'auto', the stored one. Raises UsageError."""
    if name is None:
        return torch.float32 if device.type == "cpu" else "auto"
    if name not in DTYPES:
        raise UsageError(f"dtype must be one of {', '.join(DTYPES)}, got {name!r}.")
    return DTYPES[name]
