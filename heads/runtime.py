"""A pipeline, loaded: models and heads, each checked against its record before it is used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TextStreamer
from transformers.generation.streamers import BaseStreamer
from transformers.utils import logging

from heads.cascade import Cascade
from heads.checkpoint import PICKLE, load_head
from heads.convert import convert_head
from heads.engines.choice import read_engine
from heads.fitting import check_length
from heads.head import AcceptancePredictionHead
from heads.memory import Memory
from heads.models import load_registered_model, load_registered_tokenizer, require_loadable
from heads.placement import REMEDIES, Placement, Remedies, chain_memory, require_room, spread_placement
from heads.prompt import Prompt, prompt_ids
from heads.settings import MAX_DRAFT
from registry.errors import CheckpointError, GenerationError, UsageError
from registry.files.filenames import CALIBRATION, CONFIG, WEIGHTS
from registry.records import Head
from registry.verify import read_verified

if TYPE_CHECKING:
    from registry.pipeline import Pipeline
    from registry.shelf import Shelf

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_cascade(
    pipeline: Pipeline,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    engine: str | None = None,
    device_map: str | None = None,
    max_length: int | None = None,
    max_draft: int = MAX_DRAFT,
    remedies: Remedies = REMEDIES,
    tokenizer: PreTrainedTokenizerBase | None = None,
    told: Callable[[Memory | None], None] = lambda _: None,
) -> Cascade:
    """Load every model and head of a pipeline into one cascade, once it is clear that there is room.

    Args:
        pipeline: A resolved chain whose checkpoints are on this machine.
        device: As torch names it; the first GPU when None and there is one, else the CPU.
        dtype: 'float32', 'bfloat16' or 'float16', or torch's own; when None float32 on a CPU, and on a GPU the stored
            one.
        engine: 'eager', 'captured' or 'fused'; captured on a GPU and eager on a CPU when None.
        device_map: 'auto' spreads the target over all devices by transformers' own rule; all else lies beside its
            first layers.
        max_length: Positions of the longest text, prompt included, that there must be room for.
        max_draft: Tokens that a level will draft at most.
        remedies: What a refusal may recommend.
        tokenizer: The target's, where it is loaded already.
        told: Called with what the chain needs before it is loaded; with None where that cannot be told.

    Raises:
        NotInstalledError: A model or head is not on this machine.
        CheckpointError: No record, a file that is not what its record says, a model whose weights are a pickle, or a
            tensor that does not fit.
        UsageError: No such device, dtype or engine here; or no room for it, with what there would be room for.
    """
    asked = read_engine(engine)
    _require_positions(max_length)
    placement = placement_named(device, device_map)
    kind = dtype_named(dtype, placement.first)
    shelf = pipeline.shelf
    pipeline.require_installed()
    require_loadable(shelf, pipeline.chain.models)
    memory: Memory | None = None
    with suppress(CheckpointError):  # files that do not tell: loading says of each what is wrong with it
        memory = chain_memory(
            pipeline, placement, dtype=kind, engine=asked, positions=max_length, max_draft=max_draft
        )
    told(memory)
    if memory is not None:
        require_room(memory, remedies=remedies)
    heads = [load_registered_head(shelf, head).to(placement.first) for head in pipeline.chain.heads]
    models = _loaded(pipeline, placement, kind, memory)
    begins = next(models[-1].get_input_embeddings().parameters()).device
    if begins != models[0].device:  # no GPU had room for the target's first layers
        heads = [head.to(begins) for head in heads]
        models[:-1] = [model.to(begins) for model in models[:-1]]  # type: ignore[arg-type]
    tokenizer = tokenizer or load_registered_tokenizer(shelf, pipeline.chain.models[-1])
    return Cascade(models=models, heads=heads, tokenizer=tokenizer, names=pipeline.models, engine=asked)


def memory_of(
    pipeline: Pipeline,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    engine: str | None = None,
    device_map: str | None = None,
    max_length: int | None = None,
) -> Memory:
    """What `load_cascade` would need with these options; no weights are read.

    Raises:
        NotInstalledError, CheckpointError, UsageError: as for `load_cascade`, but for want of room.
    """
    _require_positions(max_length)
    placement = placement_named(device, device_map)
    pipeline.require_installed()
    return chain_memory(
        pipeline,
        placement,
        dtype=dtype_named(dtype, placement.first),
        engine=read_engine(engine),
        positions=max_length,
        max_draft=MAX_DRAFT,
    )


def load_tokenizer(pipeline: Pipeline) -> PreTrainedTokenizerBase:
    """The tokenizer of a pipeline all of whose checkpoints are on this machine.

    Raises:
        NotInstalledError: A model or head is not, all of them named.
        CheckpointError: No record, or a file that is not what its record says.
    """
    pipeline.require_installed()
    require_loadable(pipeline.shelf, pipeline.chain.models)
    return load_registered_tokenizer(pipeline.shelf, pipeline.chain.models[-1])


def prompt_length(prompt: Prompt, tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens of a prompt, before any model is here. Raises GenerationError."""
    return len(prompt_ids(prompt, tokenizer, vocab_size=sys.maxsize))


def warm_up(
    cascade: Cascade,
    prompt: Prompt,
    settings: Mapping[str, Any],
    *,
    prompt_tokens: int,
    bar: Callable[[int, str], AbstractContextManager[Callable[[str], None]]],
) -> None:
    """Record what one text needs ahead of it, so that its time is that of decoding; nothing for eager models.

    Where drafts are made ahead of the host, what is recorded of them depends on all of the settings: the text is begun
    once, and let go of at its first new token.

    Args:
        cascade: Whose graphs are recorded.
        prompt, settings: As `generate` will be given them; `max_new_tokens` among them.
        prompt_tokens: Of the prompt.
        bar: Of the steps' number and a heading, a context that gives what is called after each.

    Raises:
        GenerationError: The text is longer than the models were made for.
    """
    new, most = settings["max_new_tokens"], settings.get("max_draft", MAX_DRAFT)
    check_length(cascade.models, cascade.names, prompt=prompt_tokens, max_new_tokens=new)
    graphs = cascade.graphs_for(most)
    if not graphs:
        return
    with bar(graphs + cascade.ahead, f"recording {graphs} {'graph' if graphs == 1 else 'graphs'}") as step:
        cascade.warm_up(prompt_tokens + new, max_draft=most, told=lambda: step(""))
        if cascade.ahead:
            with suppress(_BegunError):
                cascade.generate(prompt, streamer=_Beginning(), **settings)
            step("")


class _BegunError(Exception):
    """A text has its first new token."""


class _Beginning(BaseStreamer):
    """A streamer that has seen enough after the prompt."""

    def __init__(self) -> None:
        self._prompt_seen = False

    def put(self, value: Tensor) -> None:  # noqa: ARG002 - whatever it is
        if self._prompt_seen:
            raise _BegunError
        self._prompt_seen = True

    def end(self) -> None:
        """Nobody waits for it."""


def placement_named(device: str | torch.device | None, device_map: str | None) -> Placement:
    """One device, or all of them for a target that is spread. Raises UsageError."""
    if device_map is not None:
        return spread_placement(device, device_map)
    return Placement(devices=(device_named(device),))


def _loaded(
    pipeline: Pipeline, placement: Placement, dtype: torch.dtype | str, memory: Memory | None
) -> list[PreTrainedModel]:
    """All models, the target last: what it may take of each device is known when all else is there."""
    *below, target = pipeline.chain.models
    with no_bars():
        models = [
            load_registered_model(pipeline.shelf, model, device=placement.first, dtype=dtype)
            for model in below
        ]
        within = placement.within(memory) if placement.spread and memory is not None else None
        top = load_registered_model(
            pipeline.shelf,
            target,
            device=placement.first,
            dtype=dtype,
            spread=placement.spread,
            within=within,
        )
    return [*models, top]


def load_registered_head(shelf: Shelf, head: Head) -> AcceptancePredictionHead:
    """The head whose very bytes match the record; a pickle's are converted first, with a word on stderr.

    Its calibration is the catalog's, which a reviewer sees, before the one recorded beside it.
    """
    place = shelf.head_place(head)
    folder = place.installed(head.name)
    entry = shelf.lock.heads.get(head.name)
    pickled = not (folder / WEIGHTS).exists() and (folder / PICKLE).exists()
    kept = [CALIBRATION] if entry is not None and CALIBRATION in entry.files else []
    names = (CONFIG, *kept) if pickled else (CONFIG, WEIGHTS, *kept)
    files = read_verified(place, entry, names, subject=head.name)
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


def _require_positions(max_length: object) -> None:
    if max_length is not None and not (isinstance(max_length, int) and max_length >= 1):
        raise GenerationError(option="max_length", expected="1 position or more, or None", found=max_length)


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


def device_named(name: str | torch.device | None) -> torch.device:
    """The device of that name; without one the first GPU, or the CPU where there is none. Raises UsageError."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition(". ")[0].splitlines()[0]  # torch may go on about what else there is
        raise UsageError(
            f"No device {str(name)!r} here: {reason}. Expected 'cpu', or 'cuda' where torch finds a GPU."
        ) from error
    return device


def dtype_named(name: str | torch.dtype | None, device: torch.device) -> torch.dtype | str:
    """The dtype of that name; without one float32 on a CPU, and on a GPU 'auto', the stored one. Raises UsageError."""
    if name is None:
        return torch.float32 if device.type == "cpu" else "auto"
    found = DTYPES.get(str(name).removeprefix("torch."))
    if found is None:
        raise UsageError(f"dtype must be one of {', '.join(DTYPES)}, got {name!r}.")
    return found
