"""A pipeline, loaded: models and heads, each checked against its record before it is used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load as tensors_of
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TextStreamer,
)
from transformers.utils import logging

from heads.cascade import Cascade
from heads.checkpoint import PICKLE, load_head
from heads.convert import convert_head
from heads.head import AcceptancePredictionHead
from registry.errors import CheckpointError, NotInstalledError, UsageError
from registry.files.tensorfile import read_header
from registry.places import Place
from registry.records import Head, LockEntry, Model
from registry.verify import read_verified

if TYPE_CHECKING:
    from registry.pipeline import Pipeline
    from registry.shelf import Shelf

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_cascade(pipeline: Pipeline, *, device: str | None = None, dtype: str | None = None) -> Cascade:
    """Load every model and head of a pipeline into one cascade.

    Args:
        pipeline: A resolved chain whose checkpoints are on this machine.
        device: As torch names it; the first GPU when None and there is one, else the CPU.
        dtype: 'float32', 'bfloat16' or 'float16'; float32 on a CPU and the stored one on a GPU when None.

    Raises:
        NotInstalledError: A model or head is not on this machine.
        CheckpointError: A file is not what its record says, or a tensor does not fit.
        UsageError: No such device or dtype here.
    """
    where = _device(device)
    kind = _dtype(dtype, where)
    shelf = pipeline.shelf
    _require_all(pipeline)
    heads = [load_registered_head(shelf, head).to(where) for head in pipeline.chain.heads]
    with _no_bars():
        models = [
            load_registered_model(shelf, model, device=where, dtype=kind) for model in pipeline.chain.models
        ]
    tokenizer = _tokenizer(shelf, pipeline.chain.models[-1])
    return Cascade(models=models, heads=heads, tokenizer=tokenizer, names=pipeline.models)


def load_registered_head(shelf: Shelf, head: Head) -> AcceptancePredictionHead:
    """The head whose very bytes match the record; a pickle's are converted first, with a word on stderr."""
    place = shelf.head_place(head)
    folder = _folder(place, head.name)
    entry = shelf.lock.heads.get(head.name)
    if not (folder / WEIGHTS).exists() and (folder / PICKLE).exists():
        config = read_verified(folder, entry, (CONFIG,), subject=head.name)[CONFIG]
        conversion = convert_head(shelf, head, must_keep=False)
        return load_head(config, conversion.weights, file=str(folder / PICKLE), pickled=True)
    files = read_verified(folder, entry, (CONFIG, WEIGHTS), subject=head.name)
    return load_head(files[CONFIG], files[WEIGHTS], file=str(folder / WEIGHTS))


def load_registered_model(
    shelf: Shelf, model: Model, *, device: torch.device, dtype: torch.dtype | str
) -> PreTrainedModel:
    """The model whose files match the record: shipped ones from the bytes that were hashed, others by transformers."""
    place = shelf.model_place(model)
    folder = _folder(place, model.alias)
    entry = shelf.lock.models.get(model.alias)
    if place.kind == "package":
        loaded = _from_bytes(folder, entry, dtype)
    else:
        if entry is not None:
            report = shelf.verify_model(model)
            if not report.ok:
                raise CheckpointError(
                    f"{model.alias} in {folder} is not as recorded: {'; '.join(report.faults)}. Nothing was loaded. "
                    "Download it again.",
                    path=str(folder),
                    problems=report.faults,
                )
        loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True)
    loaded.to(device)  # type: ignore[arg-type]
    loaded.eval()
    return loaded


def text_streamer(cascade: Cascade) -> TextStreamer:
    """Prints new text to stdout as it is settled."""
    return TextStreamer(cascade.tokenizer, skip_prompt=True)  # type: ignore[arg-type]


def _from_bytes(folder: Path, entry: LockEntry | None, dtype: torch.dtype | str) -> PreTrainedModel:
    names = [name for name in (CONFIG, WEIGHTS, GENERATION_CONFIG) if (folder / name).exists()]
    files = read_verified(folder, entry, tuple(names))
    facts: dict[str, Any] = json.loads(files[CONFIG])
    read_header(files[WEIGHTS], file=str(folder / WEIGHTS))
    config = AutoConfig.for_model(**facts)
    kind: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    loaded: PreTrainedModel = kind.from_pretrained(
        None, config=config, state_dict=tensors_of(files[WEIGHTS]), dtype=dtype
    )
    if GENERATION_CONFIG in files:
        loaded.generation_config = GenerationConfig.from_dict(json.loads(files[GENERATION_CONFIG]))
    return loaded


def _tokenizer(shelf: Shelf, model: Model) -> PreTrainedTokenizerBase:
    folder = _folder(shelf.model_place(model), model.alias)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return tokenizer


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


def _folder(place: Place, name: str) -> Path:
    if place.folder is None:
        raise NotInstalledError(
            subject=name,
            where=place.looked_in,
            next_step="`hf download REPO` puts it where specreg finds it.",
        )
    return place.folder


@contextmanager
def _no_bars() -> Iterator[None]:
    """Without transformers' progress bars, which would stand between the lines of a command."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _device(name: str | None) -> torch.device:
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


def _dtype(name: str | None, device: torch.device) -> torch.dtype | str:
    if name is None:
        return torch.float32 if device.type == "cpu" else "auto"
    if name not in DTYPES:
        raise UsageError(f"dtype must be one of {', '.join(DTYPES)}, got {name!r}.")
    return DTYPES[name]
