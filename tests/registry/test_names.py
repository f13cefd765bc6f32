from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import registry
from registry.catalog import load_catalog, parse_catalog
from registry.errors import UnknownNameError, UsageError
from registry.names import find_heads, find_model, names_of
from registry.records import Catalog

TEXT = """
version: 1
sources: {s: {path: heads}}
models:
  Little-1: {hub: Org/Little-1-HF, aliases: [lil]}
  draft-1: {hub: org/draft-1}
  target-1: {}
heads:
  - {source: Little-1, target: draft-1, run: exp-weight6-layer3, from: s}
  - {source: Little-1, target: draft-1, run: second, from: s}
  - {source: draft-1, target: target-1, run: only, from: s}
"""


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return parse_catalog(TEXT, file="test", base=Path("/base"))


@pytest.mark.parametrize(
    "name", ["Little-1", "little-1", "LITTLE-1", "lil", "LIL", "Org/Little-1-HF", "org/little-1-hf"]
)
def test_model_answers_to_all_its_names(catalog: Catalog, name: str) -> None:
    """Alias, listed alias and Hub id call the same model, without regard to case."""
    assert find_model(catalog, name).alias == "Little-1"


@pytest.mark.parametrize("name", ["stranger/little-1", "little-1-hf", "Org/lil", "", " lil", "lil\n", "li"])
def test_no_model_answers_to_a_like_name(catalog: Catalog, name: str) -> None:
    """A stranger's copy, or a part of a name, is not the model."""
    with pytest.raises(UnknownNameError) as caught:
        find_model(catalog, name)

    assert (caught.value.kind, caught.value.name) == ("model", name)


@pytest.mark.parametrize(
    ("name", "suggestions"),
    [
        ("litle-1", ("Little-1",)),
        ("stranger/Draft-1", ("draft-1",)),
        ("ORG/DRAFT-11", ("draft-1",)),
        ("zzzzzzz", ()),
        ("q" * 1_000_000, ()),
    ],
    ids=["typo", "stranger", "hub id", "nothing near", "huge"],
)
def test_unknown_model_brings_near_names(catalog: Catalog, name: str, suggestions: tuple[str, ...]) -> None:
    """Suggestions are aliases, the nearest first, each once."""
    with pytest.raises(UnknownNameError) as caught:
        find_model(catalog, name)

    assert caught.value.suggestions[: len(suggestions) or None] == suggestions


@settings(deadline=None, derandomize=True)
@given(data=st.data())
def test_every_name_of_every_model_finds_it_in_any_case(data: st.DataObject) -> None:
    """In the built-in catalog every name leads to its model, however it is cased."""
    catalog = load_catalog(environ={})
    model = data.draw(st.sampled_from(list(catalog.models.values())))
    name = data.draw(st.sampled_from(list(names_of(model))))
    cased = "".join(data.draw(st.sampled_from([letter.lower(), letter.upper()])) for letter in name)

    assert find_model(catalog, cased) is model


@pytest.mark.parametrize(
    ("name", "runs"),
    [
        ("Little-1--to--draft-1", ["exp-weight6-layer3", "second"]),
        ("Little-1--to--draft-1/", ["exp-weight6-layer3", "second"]),
        ("little-1--to--DRAFT-1/second", ["second"]),
        ("lil--TO--org/draft-1", ["exp-weight6-layer3", "second"]),
        ("Org/Little-1-HF--to--org/draft-1/Second", ["second"]),
        ("draft-1--to--target-1/only", ["only"]),
    ],
    ids=["edge", "slash", "run", "aliases", "hub ids", "other edge"],
)
def test_head_is_found_by_its_folder_name(catalog: Catalog, name: str, runs: list[str]) -> None:
    """Without a run all runs of the edge come, in catalog order; with one, that one."""
    assert [head.run for head in find_heads(catalog, name)] == runs


def test_head_points_one_way(catalog: Catalog) -> None:
    """A head from a model to another is none the other way round."""
    with pytest.raises(UnknownNameError) as caught:
        find_heads(catalog, "draft-1--to--Little-1")

    assert caught.value.kind == "head"


@pytest.mark.parametrize("name", ["draft-1", "--to--", "a--to--b", "Little-1--to--draft-1--to--target-1", ""])
def test_unknown_head_is_an_error_of_its_kind(catalog: Catalog, name: str) -> None:
    """What names no edge is an unknown head, models included that nobody knows."""
    with pytest.raises(UnknownNameError) as caught:
        find_heads(catalog, name)

    assert (caught.value.kind, caught.value.name) == ("head", name)


def test_unknown_run_names_the_runs_there_are(catalog: Catalog) -> None:
    """When only the run is wrong, the runs of that edge are offered, ready to be typed."""
    with pytest.raises(UnknownNameError) as caught:
        find_heads(catalog, "lil--to--draft-1/third")

    assert caught.value.kind == "run"
    assert caught.value.suggestions == (
        "Little-1--to--draft-1/exp-weight6-layer3",
        "Little-1--to--draft-1/second",
    )


def test_unknown_head_brings_near_edges(catalog: Catalog) -> None:
    """A slip in a model's name is met with the edge that was meant."""
    with pytest.raises(UnknownNameError) as caught:
        find_heads(catalog, "Little-1--to--draf-1")

    assert caught.value.suggestions[0] == "Little-1--to--draft-1"


def test_suggesting_among_many_names_is_quick() -> None:
    """Twenty thousand models do not make a mistyped name expensive."""
    models = "".join(f"  model-{number}: {{}}\n" for number in range(20_000))
    catalog = parse_catalog(f"version: 1\nmodels:\n{models}", file="test", base=Path("/base"))
    start = time.process_time()

    with pytest.raises(UnknownNameError):
        find_model(catalog, "model-x")

    assert time.process_time() - start < 0.5


def test_what_is_no_name_is_refused() -> None:
    """
    A variable that was never set, or a model that is loaded already.
    """
    nothing: Any = None

    with pytest.raises(UsageError, match="a string, got None"):
        registry.resolve_pipeline(nothing, "qwen3-14b")
