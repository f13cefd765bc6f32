"""`registry.resolve_pipeline`, as another program uses it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import registry
from heads import AcceptancePredictionHead, Cascade
from registry.errors import (
    CatalogError,
    CheckpointError,
    GenerationError,
    NoChainError,
    NotInstalledError,
    UnknownNameError,
)

PICO = Path(__file__).parent.parent.parent / "heads" / "pico"


def test_a_pipeline_prints_as_its_chain() -> None:
    """
    Whoever prints one in a notebook sees which models it is of, and no screenful of records.
    """
    assert (
        str(registry.resolve_pipeline("pico-little", "pico-target", length=2)) == "pico-little -> pico-target"
    )


def test_names_the_roles_and_the_cards_two_paths() -> None:
    """
    Models are aliases, smallest first, and the head paths are folders a head loads from.
    """
    pipeline = registry.resolve_pipeline("pico-little", "pico-target")

    assert pipeline.models == ("pico-little", "pico-draft", "pico-target")
    assert (pipeline.little, pipeline.draft, pipeline.target) == pipeline.models
    assert pipeline.small_draft_acc_head_path is not None
    assert pipeline.draft_target_acc_head_path is not None
    head = AcceptancePredictionHead.from_pretrained(pipeline.small_draft_acc_head_path)
    assert head.config == {"hidden_size": 192, "num_layers": 3}


def test_two_models_have_no_little() -> None:
    """
    Draft and target: the little model and its head path are None.
    """
    pipeline = registry.resolve_pipeline("pico-little", "pico-target", length=2)

    assert pipeline.little is None
    assert pipeline.draft == "pico-little"
    assert pipeline.small_draft_acc_head_path is None
    assert pipeline.draft_target_acc_head_path == pipeline.heads[0].path


def test_a_model_and_itself_is_a_chain_of_one() -> None:
    """
    Source and target alike give the model alone, without heads.
    """
    pipeline = registry.resolve_pipeline("Qwen/Qwen3-14B", "qwen3-14b")

    assert pipeline.models == ("qwen3-14b",)
    assert pipeline.heads == ()
    assert pipeline.draft is None
    assert pipeline.draft_target_acc_head_path is None


def test_four_models_number_their_drafts() -> None:
    """
    The whole Qwen3 chain: the card's two names stand for the first and the last head.
    """
    pipeline = registry.resolve_pipeline("qwen3-0.6b", "qwen3-32b")

    assert pipeline.roles == {
        "little": "qwen3-0.6b",
        "draft-1": "qwen3-1.7b",
        "draft-2": "qwen3-14b",
        "target": "qwen3-32b",
    }
    assert len(pipeline.heads) == 3


@pytest.mark.parametrize(
    ("ends", "error"),
    [(("qwen3-14b", "qwen3-0.6b"), NoChainError), (("qwen3-0.6b", "nothing"), UnknownNameError)],
    ids=["reversed", "unknown"],
)
def test_what_does_not_exist_is_an_error(ends: tuple[str, str], error: type[Exception]) -> None:
    """
    A pipeline is whole or there is none.
    """
    with pytest.raises(error):
        registry.resolve_pipeline(*ends)


def test_a_users_catalog_lies_over_the_built_in_one(tmp_path: Path) -> None:
    """
    A head of the user's joins models the built-in catalog knows, in a folder relative to the catalog.
    """
    shutil.copytree(
        PICO / "pico-little--to--pico-target", tmp_path / "heads" / "pico-little--to--pico-target"
    )
    (tmp_path / "own.yaml").write_text(
        "version: 1\nsources:\n  mine: {path: ./heads}\nheads:\n"
        "  - {source: pico-little, target: pico-target, run: exp-weight6-layer3, from: mine}\n"
    )

    pipeline = registry.resolve_pipeline(
        "pico-little", "pico-target", length=2, catalog=tmp_path / "own.yaml"
    )

    assert (
        pipeline.heads[0].path == tmp_path / "heads" / "pico-little--to--pico-target" / "exp-weight6-layer3"
    )


def test_a_broken_catalog_lists_every_fault(tmp_path: Path) -> None:
    """
    Two faults in a user's catalog are both told, with their places.
    """
    (tmp_path / "own.yaml").write_text(
        "version: 1\nheads:\n  - {source: qwen3-0.6, target: qwen3-14b, run: x, from: nowhere}\n"
    )

    with pytest.raises(CatalogError) as caught:
        registry.resolve_pipeline("qwen3-0.6b", "qwen3-14b", catalog=tmp_path / "own.yaml")

    assert {fault.path for fault in caught.value.faults} == {"heads[0].source", "heads[0].from"}
    assert "did you mean 'qwen3-0.6b'" in str(caught.value)


def test_verify_reports_heads_and_models() -> None:
    """
    The shipped pipeline is sound, models included.
    """
    verification = registry.resolve_pipeline("pico-little", "pico-target").verify(models=True)

    assert verification.ok
    assert len(verification.heads) == 2
    assert len(verification.models) == 3


def test_load_gives_a_cascade_that_decodes() -> None:
    """
    Loading needs one call, and so does decoding; the roles' names reach the report.
    """
    cascade = registry.resolve_pipeline("pico-little", "pico-target").load(device="cpu", dtype="float32")

    out = cascade.generate("import os\n", max_new_tokens=8, temperature=0.0)

    assert isinstance(cascade, Cascade)
    assert len(out.token_ids) == 8
    assert [level.model for level in out.levels] == ["pico-little", "pico-draft", "pico-target"]


def test_load_says_all_that_is_missing() -> None:
    """
    Models and heads that are not here are named together.
    """
    with pytest.raises(NotInstalledError) as caught:
        registry.resolve_pipeline("qwen3-0.6b", "qwen3-14b").load()

    assert "qwen3-14b" in caught.value.subject
    assert "qwen3-0.6b--to--qwen3-1.7b" in caught.value.subject


@pytest.mark.parametrize(
    ("target", "step"),
    [
        ("b", "Put a, b, a--to--b/run there, or mend the catalog."),
        (
            "qwen3-14b",
            "Put a there, or mend the catalog; `specreg download a qwen3-14b --length 2 --models` then ",
        ),
    ],
    ids=["folders", "folder and Hub"],
)
def test_what_is_missing_of_a_folder_is_not_to_be_fetched(tmp_path: Path, target: str, step: str) -> None:
    """
    No download brings what a catalog keeps in folders: that is to be put there.
    """
    (tmp_path / "own.yaml").write_text(
        "version: 1\nsources: {mine: {path: ./heads}}\nmodels: {a: {path: ./a}, b: {path: ./b}}\nheads:\n"
        "  - {source: a, target: b, run: run, from: mine}\n"
        "  - {source: a, target: qwen3-14b, run: run, from: specdecpp}\n"
    )

    with pytest.raises(NotInstalledError) as caught:
        registry.resolve_pipeline("a", target, length=2, catalog=tmp_path / "own.yaml").load()

    assert caught.value.next_step.startswith(
        step.replace("--models`", f"--models --catalog {tmp_path}/own.yaml`")
    )


@pytest.mark.parametrize("max_length", [0, -1, 2.5])
def test_a_text_of_no_positions_is_refused(max_length: Any) -> None:
    """
    Neither is memory told for it nor anything loaded.
    """
    pipeline = registry.resolve_pipeline("pico-little", "pico-little")

    for asked in (pipeline.memory, pipeline.load):
        with pytest.raises(GenerationError, match="max_length must be 1 position or more"):
            asked(device="cpu", max_length=max_length)


def test_a_swapped_head_never_loads(tmp_path: Path) -> None:
    """
    A head of the right shape under another's record is refused, with both digests told.
    """
    from registry.lock import Lock, lock_folder, write_lock

    name = "pico-little--to--pico-draft/exp-weight6-layer3"
    folder = tmp_path / "heads" / name
    shutil.copytree(PICO / name, folder)
    write_lock(Lock().with_head(name, lock_folder(folder)), tmp_path / "catalog.lock")
    shutil.copyfile(
        PICO / "pico-draft--to--pico-target" / "exp-weight6-layer3" / "model.safetensors",
        folder / "model.safetensors",
    )
    (tmp_path / "catalog.yaml").write_text(
        "version: 1\nsources:\n  mine: {path: ./heads}\nheads:\n"
        "  - {source: pico-little, target: pico-draft, run: exp-weight6-layer3, from: mine}\n"
    )

    with pytest.raises(CheckpointError, match=r"expected sha256 .*got"):
        registry.resolve_pipeline("pico-little", "pico-draft", catalog=tmp_path / "catalog.yaml").load()


def test_resolving_needs_no_torch() -> None:
    """
    In a fresh interpreter a pipeline is resolved and verified without torch.
    """
    code = (
        "import sys, registry\n"
        "assert registry.resolve_pipeline('pico-little', 'pico-target').verify(models=True).ok\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
