"""Paths over heads: the search against a brute-force list of all of them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.graph import Cost, HeadGraph, PathSearch, head_key
from registry.records import Head

NAMES = "abcdefg"
Edge = tuple[str, str, str]

edges = st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES), st.sampled_from(["r1", "r2"]))
edge_lists = st.lists(edges, unique=True, max_size=24)
thorough = settings(max_examples=150, deadline=None, derandomize=True)


def head(source: str, target: str, run: str = "r1") -> Head:
    return Head.model_validate({"source": source, "target": target, "run": run, "from": "here"})


def graph(*words: str, models: str = NAMES) -> HeadGraph:
    """`graph("ab", "bc")` has the heads a -> b and b -> c."""
    return HeadGraph(models, [head(word[0], word[1]) for word in words])


def walked(path: Sequence[Head]) -> str:
    return "".join([path[0].source, *(step.target for step in path)])


def brute_force(heads: Sequence[Head], source: str, target: str, models: int) -> set[tuple[Head, ...]]:
    """All simple paths of `models` models, by trying every order of the models between."""
    found: set[tuple[Head, ...]] = set()
    for inner in itertools.permutations(set(NAMES) - {source, target}, models - 2):
        stops = [source, *inner, target]
        runs = [
            [one for one in heads if (one.source, one.target) == pair] for pair in itertools.pairwise(stops)
        ]
        found.update(itertools.product(*runs))
    return found


def cost_of(step: Head) -> Cost:
    """Arbitrary, of either sign, with many ties."""
    number = ord(step.source) * 7 + ord(step.target) * 3 + ord(step.run[1])
    return (number % 2, number % 5 - 2)


def total(path: Sequence[Head]) -> Cost:
    return tuple(map(sum, zip(*map(cost_of, path), strict=True)))


@thorough
@given(edge_lists, st.integers(2, 6))
def test_every_simple_path_is_found_once(listed: list[Edge], models: int) -> None:
    """
    The search yields exactly the paths that a brute-force enumeration finds, none twice.
    """
    heads = [head(*edge) for edge in listed]
    found = list(PathSearch(HeadGraph(NAMES, heads), "a", "g", models=models, cost=cost_of))

    assert len(found) == len(set(found))
    assert set(found) == brute_force(heads, "a", "g", models)


@thorough
@given(edge_lists, st.integers(3, 5))
def test_paths_come_cheapest_first_then_by_name(listed: list[Edge], models: int) -> None:
    """
    The order is that of (cost, names), the same that sorting the whole list would give.
    """
    heads = [head(*edge) for edge in listed]
    found = list(PathSearch(HeadGraph(NAMES, heads), "a", "g", models=models, cost=cost_of))

    assert found == sorted(found, key=lambda path: (total(path), [head_key(step) for step in path]))


@thorough
@given(edge_lists, st.sets(st.sampled_from("bcdef"), max_size=2), st.booleans())
def test_narrowed_search_is_the_filtered_list(listed: list[Edge], through: set[str], with_need: bool) -> None:
    """
    Models to pass and heads to have leave just the paths of the whole list that comply.
    """
    heads = [head(*edge) for edge in listed]
    needs: list[Callable[[Head], bool]] = [lambda step: step.run == "r2"] if with_need else []
    found = set(
        PathSearch(HeadGraph(NAMES, heads), "a", "g", models=5, cost=cost_of, through=through, needs=needs)
    )
    expected = {
        path
        for path in brute_force(heads, "a", "g", 5)
        if through <= set(walked(path)) and (not with_need or any(step.run == "r2" for step in path))
    }
    assert found == expected


@thorough
@given(edge_lists, st.randoms(use_true_random=False))
def test_order_of_input_does_not_show(listed: list[Edge], random: Random) -> None:
    """
    Models and heads in another order give the same paths in the same order.
    """
    heads = [head(*edge) for edge in listed]
    shuffled = random.sample(heads, len(heads))
    models = random.sample(NAMES, len(NAMES))

    one, other = HeadGraph(NAMES, heads), HeadGraph(models, shuffled)

    assert list(one.paths("a", "g")) == list(other.paths("a", "g"))
    assert one.reachable_from("a") == other.reachable_from("a")


@thorough
@given(edge_lists)
def test_no_path_meets_a_model_twice(listed: list[Edge]) -> None:
    """
    Cycles of the graph never become part of a path.
    """
    for path in HeadGraph(NAMES, [head(*edge) for edge in listed]).paths("a", "g"):
        names = walked(path)
        assert len(set(names)) == len(names)


@thorough
@given(edge_lists)
def test_reaching_is_reachable_from_seen_from_the_other_end(listed: list[Edge]) -> None:
    """
    x is reachable from y just where y is among those reaching x.
    """
    net = HeadGraph(NAMES, [head(*edge) for edge in listed])
    for one, other in itertools.permutations(NAMES, 2):
        assert (other in net.reachable_from(one)) == (one in net.reaching(other))


def test_paths_come_shortest_first() -> None:
    """
    A path of two models comes before one of three, and so on.
    """
    net = graph("ab", "bc", "cd", "ad", "ac")

    assert [walked(path) for path in net.paths("a", "d")] == ["ad", "acd", "abcd"]


def test_parallel_runs_are_kept_apart() -> None:
    """
    Two runs of one edge are two paths.
    """
    net = HeadGraph("ab", [head("a", "b", "r2"), head("a", "b", "r1")])

    assert [path[0].run for path in net.paths("a", "b")] == ["r1", "r2"]
    assert [one.run for one in net.between("a", "b")] == ["r1", "r2"]


def test_head_to_itself_is_no_path() -> None:
    """
    A head from a model to itself is kept in the graph and never walked.
    """
    net = graph("aa", "ab")

    assert [walked(path) for path in net.paths("a", "b")] == ["ab"]
    assert list(net.paths("a", "a")) == []


def test_neighbours_are_named_nearest_first() -> None:
    """
    What a model reaches is listed by distance, then by name.
    """
    net = graph("ac", "cb", "ad", "be")

    assert net.reachable_from("a") == ("c", "d", "b", "e")
    assert net.reaching("e") == ("b", "c", "a")
    assert net.reachable_from("e") == ()


def test_unknown_model_reaches_nothing() -> None:
    """
    A model that is no node has no neighbours and no paths.
    """
    net = graph("ab")

    assert net.reachable_from("z") == ()
    assert list(net.paths("z", "b")) == []


def test_search_gives_up_and_says_so() -> None:
    """
    Past its budget of steps a search ends and reports that paths may be missing.
    """
    search = PathSearch(graph(*map("".join, itertools.permutations(NAMES, 2))), "a", "g", models=6, budget=50)

    assert len(list(search)) < len(list(itertools.permutations("bcdef", 4)))
    assert search.cut_short


def test_finished_search_is_not_cut_short() -> None:
    """
    A search that has seen all reports nothing missing.
    """
    search = PathSearch(graph("ab", "bg"), "a", "g", models=3)

    assert [walked(path) for path in search] == ["abg"]
    assert not search.cut_short


def trap(width: int) -> Iterator[Head]:
    """A source whose ways forward all end blind, but for one of four models."""
    for one in range(width):
        yield head("source", f"1.{one}")
    for layer, one, other in itertools.product((1, 2, 3), range(width), range(width)):
        yield head(f"{layer}.{one}", f"{layer + 1}.{other}")
    yield from (head("source", "x"), head("x", "y"), head("y", "target"))


def test_blind_alleys_are_never_entered() -> None:
    """
    Ways that never come near the target cost one look each, not a walk: 100 looks for 100,000,000 walks.
    """
    search = PathSearch(HeadGraph([], trap(100)), "source", "target", models=4, budget=500)

    assert [walked(path) for path in search] == ["sourcexytarget"]
    assert not search.cut_short


@pytest.mark.parametrize("models", [3, 6])
def test_first_path_of_a_dense_graph_needs_no_list_of_all(models: int) -> None:
    """
    Among millions of equal paths the first comes without walking the others.
    """
    names = [f"m{number:02}" for number in range(40)]
    net = HeadGraph(names, [head(one, other) for one, other in itertools.permutations(names, 2)])
    started = time.process_time()

    path = next(iter(PathSearch(net, "m00", "m39", models=models)))

    assert [step.target for step in path[:-1]] == names[1 : models - 1]
    assert time.process_time() - started < 5
