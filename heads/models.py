"""Base models and their tokenizers, made of recorded files alone.

transformers takes what it finds in a folder: a pickle where safetensors are missing or where config.json names
one, code, an adapter, one more template. It is therefore never shown the folder. It reads a private one, which
holds the settings and tokenizer files as they were hashed, and links to the recorded safetensors: an allow-list,
so that what no record names is not read, and there is no pickle to fall back to.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

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
)

from registry.errors import CheckpointError, UsageError
from registry.files.filenames import CONFIG, INDEX, WEIGHTS
from registry.files.manifest import PICKLE_SUFFIXES
from registry.files.tensorfile import read_header
from registry.modelcheck import INERT_NAMES
from registry.records import LockEntry, Model
from registry.suggested import fetching_chain, locking, restoring
from registry.verify import read_verified

if TYPE_CHECKING:
    from registry.places import Place
    from registry.shelf import Shelf

GENERATION_CONFIG: Final = "generation_config.json"
SAFETENSORS: Final = ".safetensors"
SETTINGS: Final = (".json", ".txt", ".model", ".jinja", ".tiktoken", ".bpe")
TEMPLATES: Final = "additional_chat_templates"


def require_loadable(shelf: Shelf, models: Sequence[Model]) -> None:
    """Look at all models, before any is loaded: each has safetensors, and a record to hold them against.

    Raises:
        NotInstalledError: a model is not on this machine.
        CheckpointError: the weights of one are a pickle or missing; or models have no record, all of them named.
    """
    unrecorded: dict[str, str] = {}
    for model in models:
        place = shelf.model_place(model)
        folder = place.installed(model.alias)
        _require_safetensors(folder, model.alias)
        if model.alias not in shelf.lock.models:
            unrecorded[model.alias] = "hub" if place.kind == "hub" else "folder"
    if not unrecorded:
        return
    steps = {
        "hub": f"`{fetching_chain([model.alias for model in models], catalogs=shelf.given)}` holds what is here "
        "against the Hub's digests, fetches only what is missing, and records it.",
        "folder": f"`{locking(catalogs=shelf.given)}` records what a catalog keeps in folders.",
    }
    names = ", ".join(unrecorded)
    problem = "expected size and sha256 of every file on record, got no record"
    step = " ".join(text for kind, text in steps.items() if kind in unrecorded.values())
    raise CheckpointError(
        f"{names} cannot be checked: {problem}. Nothing was loaded. {step}", path=names, problems=[problem]
    )


def load_registered_model(
    shelf: Shelf,
    model: Model,
    *,
    device: torch.device,
    dtype: torch.dtype | str,
    spread: bool = False,
    within: Mapping[int | str, int] | None = None,
) -> PreTrainedModel:
    """The model whose files match the record: shipped ones from the bytes that were hashed, others by transformers.

    Args:
        shelf: Where it is.
        model: The catalog's entry.
        device: Where it goes; its first device where it is spread.
        dtype: Of its weights; 'auto' is the stored one.
        spread: Over several devices, by transformers' device_map="auto".
        within: Bytes that it may then take of each.

    Raises:
        NotInstalledError: the model is not on this machine.
        CheckpointError: no record, files that differ from it, no safetensors, or what transformers does not load.
        UsageError: it was to be spread, and a part found room on the disk only.
    """
    require_loadable(shelf, [model])
    place = shelf.model_place(model)
    entry = shelf.lock.models[model.alias]
    options: dict[str, Any] = {"dtype": dtype}
    if spread:
        options |= {"device_map": "auto", "max_memory": None if within is None else dict(within)}
    elif device.type == "cuda":  # straight there: the host need not hold it whole
        options["device_map"] = {"": device}
    if place.kind == "package":
        loaded = _from_bytes(place, entry, model.alias, options)
    else:
        loaded = _from_folder(shelf, model, entry, options)
    if spread:
        _require_off_disk(loaded, model.alias)
    else:
        loaded.to(device)  # type: ignore[arg-type]
    loaded.eval()
    return loaded


def load_registered_tokenizer(shelf: Shelf, model: Model) -> PreTrainedTokenizerBase:
    """The model's tokenizer, parsed from the bytes that were hashed.

    Raises:
        NotInstalledError: the model is not on this machine.
        CheckpointError: no record, a file that differs from it, or what transformers does not load.
    """
    folder = shelf.model_place(model).installed(model.alias)
    with _private_folder(folder, shelf.lock.models.get(model.alias), model.alias) as private:
        try:
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                private, local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            raise _not_loaded(folder, f"the tokenizer of {model.alias}", error, private) from error
    tokenizer.name_or_path = str(folder)
    return tokenizer


def _require_off_disk(model: PreTrainedModel, subject: str) -> None:
    """Weights left on the disk would be read again at every forward, and nobody holds those against their record."""
    if "disk" in getattr(model, "hf_device_map", {}).values():
        raise UsageError(
            f"{subject} does not fit the devices that are here: expected room for its weights and for the largest of "
            "its layers once more, got some left for the disk. Choose a smaller dtype, or a machine with more memory."
        )


def _from_bytes(place: Place, entry: LockEntry, subject: str, options: Mapping[str, Any]) -> PreTrainedModel:
    folder = place.installed(subject)
    names = [CONFIG, WEIGHTS, *([GENERATION_CONFIG] if GENERATION_CONFIG in entry.files else [])]
    files = read_verified(place, entry, names, subject=subject)
    facts: dict[str, Any] = json.loads(files[CONFIG])
    read_header(files[WEIGHTS], file=str(folder / WEIGHTS))
    config = AutoConfig.for_model(**facts)
    kind: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    loaded: PreTrainedModel = kind.from_pretrained(
        None, config=config, state_dict=tensors_of(files[WEIGHTS]), **options
    )
    if GENERATION_CONFIG in files:
        loaded.generation_config = GenerationConfig.from_dict(json.loads(files[GENERATION_CONFIG]))
    loaded.name_or_path = loaded.config.name_or_path = str(folder)
    return loaded


def _from_folder(shelf: Shelf, model: Model, entry: LockEntry, options: Mapping[str, Any]) -> PreTrainedModel:
    place = shelf.model_place(model)
    folder = place.installed(model.alias)
    report = shelf.verify_model(model)
    if not report.ok:
        raise CheckpointError(
            f"{model.alias} in {folder} is not as recorded: {'; '.join(report.faults)}. Nothing was loaded. "
            f"{restoring(place, catalogs=shelf.given)}",
            path=str(folder),
            problems=report.faults,
        )
    with _private_folder(folder, entry, model.alias, weights=True) as private:
        try:
            loaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
                private, local_files_only=True, use_safetensors=True, trust_remote_code=False, **options
            )
        except (OSError, ValueError) as error:
            raise _not_loaded(folder, model.alias, error, private) from error
    loaded.name_or_path = loaded.config.name_or_path = str(folder)
    return loaded


@contextmanager
def _private_folder(
    folder: Path, entry: LockEntry | None, subject: str, *, weights: bool = False
) -> Iterator[Path]:
    """A folder for transformers, gone afterwards: verified copies of the settings, and links to the weights."""
    with tempfile.TemporaryDirectory(prefix="specreg-", ignore_cleanup_errors=True) as made:
        private = Path(made)
        for name in entry.files if entry is not None else (CONFIG,):  # without a record, reading refuses
            if _is_setting(name):
                content = read_verified(folder, entry, (name,), subject=subject)[name]
                (private / name).parent.mkdir(exist_ok=True)
                (private / name).write_bytes(content)
            elif weights and _is_weights(name):
                _link(Path(os.path.realpath(folder / name)), private / name)
        yield private


def _is_setting(name: str) -> bool:
    """Whether it is text that a config or tokenizer is made of; of indexes, the one that was checked alone."""
    inside, _, plain = name.rpartition("/")
    if inside not in ("", TEMPLATES) or name in INERT_NAMES:
        return False
    return plain.endswith(SETTINGS) and (name == INDEX or not name.endswith(".index.json"))


def _is_weights(name: str) -> bool:
    return "/" not in name and name.endswith(SAFETENSORS)


def _link(real: Path, name: Path) -> None:
    try:
        name.symlink_to(real)
    except OSError:  # a system that lets only administrators link
        shutil.copyfile(real, name)


def _require_safetensors(folder: Path, alias: str) -> None:
    names = sorted(path.name for path in folder.iterdir())
    if any(_is_weights(name) for name in names):
        return
    pickles = [name for name in names if name.endswith(PICKLE_SUFFIXES)]
    got = f"{', '.join(pickles[:4])}, a pickle" if pickles else "no weights"
    problem = f"expected {WEIGHTS}, or shards and {INDEX}, got {got}"
    raise CheckpointError(
        f"{alias} in {folder} is refused: {problem}. Nothing was loaded. Base models are not unpickled here: take "
        "a revision of it that holds safetensors, or save it as such where its pickle may be trusted.",
        path=str(folder),
        problems=[problem],
    )


def _not_loaded(folder: Path, subject: str, error: Exception, private: Path) -> CheckpointError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0].replace(str(private), str(folder))
    problem = f"transformers does not load it without code or pickles: {reason.rstrip('.')}"
    return CheckpointError(
        f"{subject} in {folder} is refused: {problem}. Nothing was loaded. Expected a model that this version of "
        "transformers knows, with safetensors; take another revision, or another transformers.",
        path=str(folder),
        problems=[problem],
    )
