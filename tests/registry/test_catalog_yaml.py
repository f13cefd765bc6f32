from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from registry.catalog import builtin_catalog_path, dump_catalog, load_catalog, parse_catalog
from registry.names import find_heads, find_model, fold, names_of
from registry.records import Catalog
from registry.runs import parse_run_name

PUBLISHED = [
    "llama-68m--to--tiny-llama-1.1b/exp-weight6-layer3",
    "tiny-llama-1.1b--to--llama-2-13b/exp-weight6-layer3",
    "llama-2-7b-chat--to--llama-2-chat-70b/exp-weight6-layer3",
    "vicuna-68m--to--tiny-vicuna-1b/exp-weight6-layer3",
    "tiny-vicuna-1b--to--vicuna-13b-v1.5/exp-weight6-layer3",
    "qwen1.5-0.5b-chat--to--qwen1.5-1.8b-chat/exp-weight-layer3",
    "qwen1.5-1.8b-chat--to--qwen1.5-7b-chat/exp-weight6-layer3",
    "qwen3-0.6b--to--qwen3-1.7b/exp-weight6-layer3",
    "qwen3-1.7b--to--qwen3-14b/exp-weight6-layer3",
    "qwen3-14b--to--qwen3-32b/exp-weight6-layer3",
]
MODELS = {  # alias: Hub id, hidden size, rows of the output layer, parameters
    "llama-68m": ("JackFram/llama-68m", 768, 32000, 68_030_208),
    "tiny-llama-1.1b": ("TinyLlama/TinyLlama-1.1B-Chat-v1.0", 2048, 32000, 1_100_048_384),
    "llama-2-13b": ("meta-llama/Llama-2-13b-hf", 5120, 32000, 13_015_864_320),
    "llama-2-7b-chat": ("meta-llama/Llama-2-7b-chat-hf", 4096, 32000, 6_738_415_616),
    "llama-2-chat-70b": ("meta-llama/Llama-2-70b-chat-hf", 8192, 32000, 68_976_648_192),
    "vicuna-68m": ("double7/vicuna-68m", 768, 32000, 68_030_208),
    "tiny-vicuna-1b": ("Jiayi-Pan/Tiny-Vicuna-1B", 2048, 32000, 1_100_048_384),
    "vicuna-13b-v1.5": ("lmsys/vicuna-13b-v1.5", 5120, 32000, 13_015_864_320),
    "qwen1.5-0.5b-chat": ("Qwen/Qwen1.5-0.5B-Chat", 1024, 151936, 463_987_712),
    "qwen1.5-1.8b-chat": ("Qwen/Qwen1.5-1.8B-Chat", 2048, 151936, 1_836_828_672),
    "qwen1.5-7b-chat": ("Qwen/Qwen1.5-7B-Chat", 4096, 151936, 7_721_324_544),
    "qwen3-0.6b": ("Qwen/Qwen3-0.6B", 1024, 151936, 596_049_920),
    "qwen3-1.7b": ("Qwen/Qwen3-1.7B", 2048, 151936, 1_720_574_976),
    "qwen3-14b": ("Qwen/Qwen3-14B", 5120, 151936, 14_768_307_200),
    "qwen3-32b": ("Qwen/Qwen3-32B", 5120, 151936, 32_762_123_264),
}
PICO = ["pico-little", "pico-draft", "pico-target"]


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog(environ={})


def test_holds_the_published_heads(catalog: Catalog) -> None:
    """The ten published heads are there, under the folder names they are published with."""
    published = [head for head in catalog.heads if head.from_ == "specdecpp"]

    assert [head.folder for head in published] == PUBLISHED
    assert catalog.sources["specdecpp"].hub == "ArcticHuaji/specdecpp-acc-heads"


def test_holds_the_fifteen_models(catalog: Catalog) -> None:
    """The fifteen models have the Hub ids and shapes of their published configs."""
    facts = {
        alias: (model.hub, model.hidden_size, model.vocab_size, model.parameters)
        for alias, model in catalog.models.items()
        if model.hub
    }
    assert facts == MODELS


def test_holds_the_embedded_family(catalog: Catalog) -> None:
    """The three tiny models and the heads of all their pairs come with the package."""
    assert [alias for alias, model in catalog.models.items() if model.package == "heads"] == PICO
    assert {(head.source, head.target) for head in catalog.heads if head.from_ == "pico"} == {
        ("pico-little", "pico-draft"),
        ("pico-draft", "pico-target"),
        ("pico-little", "pico-target"),
    }


def test_every_head_joins_models_of_one_tokenizer(catalog: Catalog) -> None:
    """Source and target share tokenizer and rows, and both hold the tokenizer's own size."""
    for head in catalog.heads:
        source, target = catalog.models[head.source], catalog.models[head.target]
        assert (source.tokenizer, source.vocab_size) == (target.tokenizer, target.vocab_size)
        assert source.tokenizer is not None
        assert source.vocab_size is not None
        own = catalog.tokenizers[source.tokenizer].vocab_size
        assert own is not None
        assert own <= source.vocab_size


def test_every_run_says_its_depth(catalog: Catalog) -> None:
    """Three blocks everywhere; one published run does not record its weight."""
    assert {parse_run_name(head.run).layers for head in catalog.heads} == {3}
    assert [head.edge for head in catalog.heads if parse_run_name(head.run).mismatch_weight is None] == [
        "qwen1.5-0.5b-chat--to--qwen1.5-1.8b-chat"
    ]


def test_nothing_unknown_is_written_down(catalog: Catalog) -> None:
    """No digest stands in the catalog, and no head has a training record that nobody has read."""
    text = builtin_catalog_path().read_text(encoding="utf-8")

    assert re.search(r"[0-9a-f]{32}", text) is None
    assert [head.name for head in catalog.heads if head.from_ == "specdecpp" and head.training] == []


@pytest.mark.parametrize(
    ("name", "alias"),
    [
        ("Qwen/Qwen3-0.6B", "qwen3-0.6b"),
        ("Qwen3-14B", "qwen3-14b"),
        ("qwen-3-32b", "qwen3-32b"),
        ("Qwen1.5-7B-Chat", "qwen1.5-7b-chat"),
        ("qwen-1.5-0.5b-chat", "qwen1.5-0.5b-chat"),
        ("Llama-2-70b-chat-hf", "llama-2-chat-70b"),
        ("llama-2-70b-chat", "llama-2-chat-70b"),
        ("meta-llama/Llama-2-70b-chat-hf", "llama-2-chat-70b"),
        ("llama-2-chat-7b", "llama-2-7b-chat"),
        ("Llama-2-13b-hf", "llama-2-13b"),
        ("tinyllama-1.1b-chat-v1.0", "tiny-llama-1.1b"),
        ("tinyllama/tinyllama-1.1b-chat-v1.0", "tiny-llama-1.1b"),
        ("Tiny-Vicuna-1B", "tiny-vicuna-1b"),
        ("double7/vicuna-68m", "vicuna-68m"),
        ("LMSYS/Vicuna-13b-v1.5", "vicuna-13b-v1.5"),
    ],
)
def test_models_answer_to_the_names_people_use(catalog: Catalog, name: str, alias: str) -> None:
    """The publisher's names, the Hub's and the usual spellings are one model."""
    assert find_model(catalog, name).alias == alias


def test_every_repository_name_is_known(catalog: Catalog) -> None:
    """The last part of every Hub id calls its model."""
    for model in catalog.models.values():
        if model.hub:
            assert find_model(catalog, model.hub.partition("/")[2]) is model


def test_no_name_is_claimed_twice(catalog: Catalog) -> None:
    """Every name leads to one model."""
    owners: dict[str, set[str]] = {}
    for model in catalog.models.values():
        for name in names_of(model):
            owners.setdefault(fold(name), set()).add(model.alias)

    assert {name: aliases for name, aliases in owners.items() if len(aliases) > 1} == {}


@pytest.mark.parametrize(
    "name", ["qwen1.5-7b", "llama-2-13b-chat", "vicuna-13b", "tiny-llama-1.1b-chat-v0.3"]
)
def test_name_of_another_model_is_not_taken(catalog: Catalog, name: str) -> None:
    """A base model, a chat model or an older version elsewhere does not pass for ours."""
    assert name not in {fold(known) for model in catalog.models.values() for known in names_of(model)}


@pytest.mark.parametrize("name", PUBLISHED)
def test_head_is_found_by_its_published_folder(catalog: Catalog, name: str) -> None:
    """The folder's name, as copied from the Hub, finds the head."""
    assert [head.name for head in find_heads(catalog, name)] == [name]


def test_round_trip(catalog: Catalog) -> None:
    """Written and read again, the built-in catalog is the same."""
    again = parse_catalog(dump_catalog(catalog), file="again", base=Path(builtin_catalog_path()).parent)
    assert again == catalog


def test_loads_in_a_blink() -> None:
    """The built-in catalog loads in less than 25 ms of processor time."""
    load_catalog(environ={})
    best = min(_seconds() for _ in range(5))
    assert best < 0.025


def _seconds() -> float:
    start = time.process_time()
    load_catalog(environ={})
    return time.process_time() - start
