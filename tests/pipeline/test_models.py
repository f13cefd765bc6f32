"""Base models are loaded of recorded files alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import snapshot_download
from transformers import AutoModelForCausalLM

import registry
from heads.models import require_loadable
from registry.errors import CheckpointError
from registry.hub.download import download
from registry.places import hub_cache
from registry.shelf import Shelf
from tests.conftest import Outcome
from tests.hub.server import LocalHub
from tests.pipeline.models import WEIGHTS, folder_model, lock, own_catalog, write_model

Run = Callable[..., Outcome]


def decode(specreg: Run, catalog: Path, model: str = "mine") -> Outcome:
    """Decode eight tokens with a model alone."""
    asked = ("--prompt", "import os\n", "--max-new-tokens", "8", "--catalog", str(catalog), "--json")
    return specreg("decode", model, model, *asked)


def test_a_model_in_a_folder_is_loaded_once_it_is_recorded(specreg: Run, tmp_path: Path) -> None:
    """
    Without a record it is refused with the way out; with one it writes what the same model writes elsewhere.
    """
    folder, catalog = folder_model(tmp_path)
    refused = decode(specreg, catalog)
    lock(catalog)
    found = decode(specreg, catalog)

    assert refused.code == 1
    assert "mine cannot be checked" in refused.err
    assert "specreg lock" in refused.err
    shipped = decode(specreg, catalog, "pico-little")
    assert json.loads(found.out)["token_ids"] == json.loads(shipped.out)["token_ids"]
    (loaded,) = registry.resolve_pipeline("mine", "mine", catalog=catalog).load(device="cpu").models
    assert loaded.name_or_path == str(folder)


def test_a_model_that_another_tool_fetched_gets_its_record_without_a_second_fetch(
    specreg: Run, tmp_path: Path
) -> None:
    """
    The command that the refusal names hashes what the Hub's cache holds; after it the model decodes.
    """
    write_model(tmp_path / "served" / "org" / "mine")
    (tmp_path / "served" / "org" / "mine" / "evaluation.json").unlink()
    catalog = own_catalog(tmp_path, "hub: org/mine")
    with LocalHub(tmp_path / "served") as hub:
        snapshot_download("org/mine", endpoint=hub.endpoint, cache_dir=hub_cache())
        refused = decode(specreg, catalog)
        hub.requests.clear()
        shelf = Shelf.open(catalog)
        download(shelf, (), [shelf.catalog.models["mine"]], endpoint=hub.endpoint, bars=False)

    assert refused.code == 1
    assert "specreg download mine --models --catalog" in refused.err
    assert not [request for request in hub.requests if request.startswith("GET") and "/api/" not in request]
    assert decode(specreg, catalog).code == 0


def test_shards_and_templates_on_record_are_read(specreg: Run, tmp_path: Path) -> None:
    """
    A model in several files, with chat templates of both kinds, is the model it was in one.
    """
    folder, catalog = folder_model(tmp_path)
    whole = AutoModelForCausalLM.from_pretrained(folder)
    (folder / WEIGHTS).unlink()
    whole.save_pretrained(folder, max_shard_size="1MB")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool.jinja").write_text("{{ tools }}")
    lock(catalog)

    found, shipped = decode(specreg, catalog), decode(specreg, catalog, "pico-little")
    tokenizer = registry.resolve_pipeline("mine", "mine", catalog=catalog).load(device="cpu").tokenizer

    assert len(list(folder.glob("model-*.safetensors"))) > 1
    assert json.loads(found.out)["token_ids"] == json.loads(shipped.out)["token_ids"]
    assert tokenizer is not None
    assert tokenizer.chat_template == {"default": "{{ messages }}", "tool": "{{ tools }}"}


def test_all_models_without_a_record_are_named_before_any_is_loaded() -> None:
    """
    One refusal for the chain, with the command for the chain.
    """
    shelf, commit = Shelf.open(), "0" * 40
    models = [shelf.catalog.models[name] for name in ("qwen3-0.6b", "qwen3-14b")]
    for model in models:
        store = hub_cache() / "--".join(["models", *(model.hub or "").split("/")])
        (store / "snapshots" / commit).mkdir(parents=True)
        (store / "snapshots" / commit / "model.safetensors").touch()
        (store / "refs").mkdir()
        (store / "refs" / "main").write_text(commit)

    with pytest.raises(CheckpointError) as caught:
        require_loadable(shelf, models)

    assert "qwen3-0.6b, qwen3-14b cannot be checked" in str(caught.value)
    assert "`specreg download qwen3-0.6b qwen3-14b --length 2 --models`" in str(caught.value)


def test_what_no_record_names_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Templates, tokens and code that were put beside a package's recorded tokenizer change nothing.
    """
    folder = write_model(tmp_path / "site" / "shipping_package" / "little")
    (folder.parent / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "site")
    catalog = own_catalog(tmp_path, "package: shipping_package, path: little")
    lock(catalog)
    (folder / "chat_template.jinja").write_text("slipped in")
    (folder / "added_tokens.json").write_text('{"import": 2047}')
    (folder / "special_tokens_map.json").write_text('{"eos_token": "import"}')
    (folder / "tokenizer.model").write_bytes(b"slipped in")

    cascade = registry.resolve_pipeline("mine", "mine", catalog=catalog).load(device="cpu")
    shipped = registry.resolve_pipeline("pico-little", "pico-little").load(device="cpu")

    assert cascade.tokenizer is not None
    assert shipped.tokenizer is not None
    assert cascade.tokenizer.chat_template is None
    assert cascade.tokenizer.get_vocab() == shipped.tokenizer.get_vocab()
    assert cascade.tokenizer.eos_token == shipped.tokenizer.eos_token
