"""A base model in the Hub's cache, where other tools put files of its repository that our record leaves out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from registry.lock import lock_folder
from registry.places import Place
from registry.report import ModelReport
from registry.verify import verify_model
from tests.verify.test_models import MODEL, SHARDS, tensors, write, write_shards

UNREAD = (
    *("README.md", "LICENSE", "LICENSE.txt", "Notice.txt", "LICENSE-MODEL", "USE_POLICY.md", "COPYING"),
    *("preprocessor_config.json", "processor_config.json", "configuration.json", "params.json"),
    *("original/params.json", "original/consolidated.00.pth", "onnx/model.onnx", "figures/curve.png"),
    *("pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"),
    *("tf_model.h5", "flax_model.msgpack", "rust_model.ot", "model.Q4_K_M.gguf", "consolidated.safetensors"),
    *("consolidated-00001-of-00002.safetensors", "training_args.bin", "trainer_state.json", "results.csv"),
    *("events.out.tfevents.1700000000.host.1.0", "Dockerfile", "recipe.yaml", ".gitattributes"),
)
READ = (
    *("model-00003-of-00003.safetensors", "model.fp16.safetensors", "adapter_model.safetensors"),
    *("adapter_config.json", "generation_config.json", "quantize_config.json", "hf_quant_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json"),
    *("added_tokens.json", "vocab.json", "vocab.txt", "dict.txt", "merges.txt", "bpe.codes", "source.spm"),
    *("qwen.tiktoken", "tekken.json", "chat_template.jinja", "chat_template.json"),
    *("additional_chat_templates/tool_use.jinja", "modeling_strange.py", "unheard.of"),
)


def put(folder: Path, name: str) -> None:
    """Another tool's file in the model's folder."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"another tool put it there")


def report_beside(folder: Path, name: str, *, kind: str = "hub") -> ModelReport:
    """The report on a recorded model with one more file."""
    entry = lock_folder(folder)
    put(folder, name)
    place = Place(folder=folder, looked_in=str(folder), kind=kind)  # type: ignore[arg-type]
    return verify_model(MODEL, place, entry=entry)


@pytest.mark.parametrize(
    "made", [lambda path: write(path, tensors()), write_shards], ids=["one file", "shards"]
)
@pytest.mark.parametrize("name", UNREAD)
def test_what_no_loader_reads_is_told_and_is_no_fault(
    tmp_path: Path, made: Callable[[Path], Path], name: str
) -> None:
    """
    A file of the repository that a download of ours leaves out may be put there by another tool.
    """
    report = report_beside(made(tmp_path / "m"), name)

    (extra,) = [file for file in report.files if file.path == name]
    assert (extra.status, extra.fault) == ("unrecorded", False)
    assert report.ok


@pytest.mark.parametrize("name", READ)
def test_what_a_loader_might_read_is_a_fault(tmp_path: Path, name: str) -> None:
    """
    Weights, settings, tokenizer files, templates and code that are not in the record are extra.
    """
    report = report_beside(write(tmp_path / "m", tensors()), name)

    assert [(file.path, file.status) for file in report.files if file.fault] == [(name, "extra")]


@pytest.mark.parametrize("name", [*SHARDS, "model.safetensors.index.json", "config.json"])
def test_what_a_model_is_made_of_is_never_let_pass(tmp_path: Path, name: str) -> None:
    """
    A record without it does not make a file of the model itself harmless.
    """
    folder = write_shards(tmp_path / "m")
    entry = lock_folder(folder)
    short = entry.model_copy(update={"files": {one: r for one, r in entry.files.items() if one != name}})

    report = verify_model(MODEL, Place(folder=folder, looked_in="", kind="hub"), entry=short)

    assert [(file.path, file.status) for file in report.files if file.fault] == [(name, "extra")]


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model.bin.index.json"])
def test_a_pickle_is_no_other_format_of_a_pickle(tmp_path: Path, name: str) -> None:
    """
    Where no safetensors are recorded, loaders look for pickles and for their index.
    """
    folder = tmp_path / "m"
    folder.mkdir()
    put(folder, "config.json")
    put(folder, "pytorch_model-00001-of-00001.bin")

    assert name in {file.path for file in report_beside(folder, name).files if file.status == "extra"}


def test_a_recorded_file_is_missed_whatever_it_is(tmp_path: Path) -> None:
    """
    What may lie there unrecorded is still missed where the record has it.
    """
    folder = write(tmp_path / "m", tensors())
    put(folder, "preprocessor_config.json")
    entry = lock_folder(folder)
    (folder / "preprocessor_config.json").unlink()

    report = verify_model(MODEL, Place(folder=folder, looked_in="", kind="hub"), entry=entry)

    assert [(file.path, file.status) for file in report.files if file.fault] == [
        ("preprocessor_config.json", "missing")
    ]


def test_in_a_folder_of_your_own_every_file_counts(tmp_path: Path) -> None:
    """
    Nobody else puts files there, so that one that is not recorded is a fault.
    """
    report = report_beside(write(tmp_path / "m", tensors()), "preprocessor_config.json", kind="folder")

    assert not report.ok
