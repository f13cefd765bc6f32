"""Plans: which chains, in which order, on what grounds."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from registry.lock import Lock
from registry.planning.known import known_here
from registry.planning.law import Law
from registry.planning.lengths import DraftLengths
from registry.planning.measured import Measured, chain_subject
from registry.planning.measurement import Measurement
from registry.planning.plan import plan
from registry.planning.planned import Plan
from registry.planning.timing import ChainTimes
from registry.records import Catalog, Head, Model, Source, TokenizerFamily
from registry.shelf import Shelf
from tests.planning.measurements import HERE, edged, fingerprinted, stored, timed

SIZES = {"small": 500_000_000, "middle": 2_000_000_000, "large": 16_000_000_000}


def shelf_of(sizes: dict[str, int | None], edges: list[tuple[str, str]]) -> Shelf:
    """Models of one tokenizer and heads between them; nothing of it is on this machine."""
    catalog = Catalog(
        sources={"hub": Source(hub="someone/heads", revision="main")},
        tokenizers={"one": TokenizerFamily(vocab_size=1000)},
        models={
            name: Model(alias=name, hub=f"someone/{name}", vocab_size=1000, tokenizer="one", parameters=size)
            for name, size in sizes.items()
        },
        heads=tuple(
            Head.model_validate({"source": source, "target": target, "run": "r", "from": "hub"})
            for source, target in edges
        ),
    )
    return Shelf(catalog, Lock.model_construct(version=1, heads={}, models={}))


@pytest.fixture
def shelf() -> Shelf:
    """Three sizes, and every head between neighbours."""
    return shelf_of(dict(SIZES), [("small", "middle"), ("middle", "large")])


def planned(shelf: Shelf, target: str, known: list[Measurement] | None = None, **options: Any) -> Plan:
    """A greedy plan."""
    measured = Measured(HERE if known else None, known or [], fingerprinted)
    return plan(shelf, target, measured=measured, law=Law(), **options)


def chains(found: Plan) -> list[tuple[str, ...]]:
    """Their models, best first."""
    return [one.estimate.models for one in found.chains]


def test_every_chain_that_ends_there_is_planned(shelf: Shelf) -> None:
    """
    A target with two models below it has three ways to decode, itself alone among them.
    """
    found = planned(shelf, "large")

    assert sorted(chains(found)) == [("large",), ("middle", "large"), ("small", "middle", "large")]
    assert found.considered == 3


def test_only_chains_from_the_source_and_the_target_alone(shelf: Shelf) -> None:
    """
    A source leaves its own chains, and the target to compare with.
    """
    assert sorted(chains(planned(shelf, "large", source="middle"))) == [("large",), ("middle", "large")]


def test_best_first_with_the_target_alone_at_its_place(shelf: Shelf) -> None:
    """
    The order is that of predicted tokens per second, and a speed-up of 1 is the target's.
    """
    found = planned(shelf, "large")

    speeds = [one.tokens_per_second for one in found.chains]
    assert speeds == sorted(speeds, reverse=True)
    assert [one.speedup for one in found.chains if one.estimate.models == ("large",)] == [1.0]


def test_the_target_alone_is_told_beyond_the_top(shelf: Shelf) -> None:
    """
    With one chain asked for, the best and the target alone are told.
    """
    assert chains(planned(shelf, "large", top=1))[-1] == ("large",)
    assert len(chains(planned(shelf, "large", top=1))) == 2


def test_memory_leaves_out_what_does_not_fit(shelf: Shelf) -> None:
    """
    Weights of every model count, in the dtype they are run in, and a tenth more.
    """
    found = planned(shelf, "large", memory_bytes=40_000_000_000)

    # 2 bytes each: 37.0 GB with all three, 36.0 with two, times 1.1
    assert chains(found) == [("middle", "large"), ("large",)]
    assert found.too_large == 1


def test_a_model_of_unknown_size_is_counted_and_left_out() -> None:
    """
    Where the catalog does not tell a size and nothing was measured, nothing is made up.
    """
    found = planned(shelf_of({"a": None, "b": 10**9}, [("a", "b")]), "b")

    assert chains(found) == [("b",)]
    assert found.unknown == 1


def test_a_measurement_of_a_later_version_is_left_out_and_told(shelf: Shelf) -> None:
    """
    One with a field that nobody here knows counts as none, each time it is looked for; the others count.
    """
    known = timed("small", 0.001) + timed("large", 0.01)
    known[-1] = known[-1].model_copy(update={"document": known[-1].document | {"later": 1}})

    found = planned(shelf, "large", known)

    (longest,) = [one for one in found.chains if len(one.models) == 3]
    assert [longest.estimate.forwards[name] for name in ("small", "large")] == ["measured", "assumed"]
    assert found.to_json()["unread_measurements"] == 1
    assert "; left out: 1 measurement of another version of specreg" in found.device
    assert "left out" not in planned(shelf, "large", known[:-1]).device


def test_lengths_of_a_later_version_are_none() -> None:
    """
    What `tune` kept with more than is known here is not half used.
    """
    lengths = stored("lengths", chain_subject(("a", "b")), DraftLengths.fixed(3), law="greedy")
    strange = [lengths.document | {"later": 1}, []]
    for document in strange:
        kept = lengths.model_copy(update={"document": {"lengths": document}})
        measured = Measured(HERE, [kept], fingerprinted)

        assert measured.lengths(["a", "b"], ["mine"], Law()) is None
        assert measured.unread == {(HERE.key, "lengths", chain_subject(("a", "b")), "greedy")}


def test_of_a_target_that_nobody_knows_nothing_is_planned() -> None:
    """
    Where its size is not told either, there is no chain to put first.
    """
    found = planned(shelf_of({"a": 10**8, "b": None}, [("a", "b")]), "b")

    assert found.chains == ()


def test_an_edge_that_does_not_fit_is_no_way() -> None:
    """
    Models of two tokenizers are never planned together.
    """
    shelf = shelf_of({"a": 10**8, "b": 10**9}, [("a", "b")])
    other = shelf.catalog.models["a"].model_copy(update={"tokenizer": "two"})
    catalog = shelf.catalog.model_copy(
        update={
            "models": {**shelf.catalog.models, "a": other},
            "tokenizers": {**shelf.catalog.tokenizers, "two": TokenizerFamily(vocab_size=900)},
        }
    )

    assert chains(planned(Shelf(catalog, shelf.lock), "b")) == [("b",)]


def test_what_was_measured_counts(shelf: Shelf) -> None:
    """
    A middle model nearly as dear as its target loses, where sizes alone would have praised it.
    """
    known = [
        *timed("small", 0.001),
        *timed("middle", 0.009),
        *timed("large", 0.010),
        *edged("small", "middle", 0.8, text_of="large"),
        *edged("middle", "large", 0.9),
    ]

    found = planned(shelf, "large", known)

    assert chains(found).index(("large",)) < chains(found).index(("middle", "large"))
    assert all(one.estimate.measured for one in found.chains)


def test_what_the_whole_chain_takes_counts_too(shelf: Shelf) -> None:
    """
    Where a chain of three was run as one, what its rounds took beside its edges' makes it as much slower.
    """
    known = [
        *timed("small", 0.001),
        *timed("middle", 0.003),
        *timed("large", 0.010),
        *edged("small", "middle", 0.9, text_of="large"),
        *edged("middle", "large", 0.9),
    ]
    models = ("small", "middle", "large")
    late = ChainTimes(models=models, round=0.1)
    more = [*known, stored("chain", chain_subject(models), late)]

    speeds = [
        {one.estimate.models: one.tokens_per_second for one in planned(shelf, "large", these).chains}
        for these in (known, more)
    ]

    assert speeds[1][models] < 0.5 * speeds[0][models]
    assert speeds[1]["middle", "large"] == speeds[0]["middle", "large"]


def test_a_chain_whose_edges_read_other_texts_is_to_be_measured_as_one(shelf: Shelf) -> None:
    """
    Edges that were measured apart cannot be replayed together: the plan asks for the whole chain.
    """
    known = [
        *(one for name in SIZES for one in timed(name, SIZES[name] / 1e12)),
        *edged("small", "middle", 0.8),
        *edged("middle", "large", 0.9),
    ]
    models = ("small", "middle", "large")

    found = {one.models: one for one in planned(shelf, "large", known).chains}

    assert not found[models].estimate.replayed
    assert found[models].next[-1] == "specreg measure small middle large"
    assert "specreg measure middle large" not in found[models[1:]].next


def test_a_slow_moment_makes_no_chain_faster_than_its_forwards(shelf: Shelf) -> None:
    """
    What was left of a round may be far less than nothing; no round is foreseen to give time back.
    """
    known = [
        *timed("small", 0.001),
        *timed("middle", 0.003),
        *timed("large", 0.010),
        *edged("small", "middle", 0.9, text_of="large"),
        *edged("middle", "large", 0.9),
    ]
    models = ("small", "middle", "large")
    early = stored("chain", chain_subject(models), ChainTimes(models=models, round=-5.0))

    speeds = [
        {one.estimate.models: one.tokens_per_second for one in planned(shelf, "large", these).chains}
        for these in (known, [*known, early])
    ]

    assert speeds[0] == speeds[1]


def test_another_setup_and_other_checkpoints_say_nothing(shelf: Shelf) -> None:
    """
    Measurements of another device, or of files that have changed, are as good as none.
    """
    elsewhere = HERE.model_copy(update={"processor": "another"})
    known = [*timed("large", 5.0, setup=elsewhere), *timed("middle", 5.0, fingerprint="changed")]

    bases = {
        basis for one in planned(shelf, "large", known).chains for basis in one.estimate.forwards.values()
    }

    assert bases == {"assumed"}


def test_thresholds_come_from_what_heads_were_heard_to_say(shelf: Shelf) -> None:
    """
    A head that tells kept from refused tokens gets a threshold below 1, and beats the best fixed length.
    """
    head = "middle--to--large/r"
    known = [
        *timed("middle", 0.001),
        *timed("large", 0.010),
        *edged("middle", "large", 0.7, head=head),
    ]

    best = planned(shelf, "large", known, source="middle").chains[0].estimate

    assert best.lengths.threshold[0] < 1
    assert best.seconds_per_token < 0.97 * best.fixed_seconds_per_token


def test_another_heads_answers_are_not_taken_for_this_ones(shelf: Shelf) -> None:
    """
    Where the trace heard another run of the head, only fixed lengths are planned.
    """
    known = [
        *timed("middle", 0.001),
        *timed("large", 0.010),
        *edged("middle", "large", 0.7, head="middle--to--large/other"),
    ]

    best = planned(shelf, "large", known, source="middle").chains[0].estimate

    assert best.lengths.threshold == (1.0,)


def test_a_missing_edge_that_would_pay_is_named() -> None:
    """
    Where only a costly detour leads to the target, the plan says what head to train.
    """
    shelf = shelf_of(
        {"tiny": 100_000_000, "half": 8_000_000_000, "whole": 16_000_000_000},
        [("tiny", "half"), ("half", "whole")],
    )

    assert str(planned(shelf, "whole").train).startswith("specreg train tiny whole ")


def test_a_head_that_would_not_fit_into_memory_is_not_advised() -> None:
    """
    What is to be trained must be of use where the plan is for.
    """
    shelf = shelf_of({"tiny": 100_000_000, "whole": 16_000_000_000}, [])

    assert planned(shelf, "whole").train is not None
    assert planned(shelf, "whole", memory_bytes=35_300_000_000).train is None


def test_the_document_has_what_was_promised(shelf: Shelf) -> None:
    """
    `--json` tells target, device and chains, whose settings are options of `generate` and nothing else.
    """
    document = planned(shelf, "large").to_json()

    assert {"target", "device", "chains"} <= document.keys()
    for chain in document["chains"]:
        assert {
            "models",
            "predicted_tokens_per_second",
            "predicted_speedup",
            "settings",
            "basis",
        } <= chain.keys()
        assert chain["settings"].keys() <= {"min_draft", "max_draft", "threshold"}


def test_a_thousand_models_are_planned_within_a_second() -> None:
    """
    1,000 models and 10,000 heads: every chain of at most four models that ends at the largest.
    """
    chance = random.Random(0)  # noqa: S311 - a catalog to plan over
    names = [f"m{number}" for number in range(1000)]
    sizes: dict[str, int | None] = {name: round(10 ** (7 + 4 * at / 1000)) for at, name in enumerate(names)}
    edges: set[tuple[str, str]] = set()
    while len(edges) < 10_000:
        below, above = sorted(chance.sample(range(1000), 2))
        edges.add((names[below], names[above]))
    shelf = shelf_of(sizes, sorted(edges))

    began = time.perf_counter()
    found = planned(shelf, "m999")
    seconds = time.perf_counter() - began

    assert found.considered > 1000
    assert found.complete
    assert seconds < 1


def test_a_source_far_from_the_crowd_is_still_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where there are more chains than are looked at, those from the source asked for are looked at first.
    """
    monkeypatch.setattr("registry.planning.ways.MOST_WAYS", 20)
    crowd = [f"crowd{number}" for number in range(12)]
    edges = [(one, other) for one in crowd for other in crowd if one != other]
    edges += [(one, "whole") for one in crowd] + [("z", "y"), ("y", "whole")]
    sizes: dict[str, int | None] = {**dict.fromkeys([*crowd, "y", "z"], 10**8), "whole": 10**10}
    shelf = shelf_of(sizes, edges)

    assert not planned(shelf, "whole").complete
    found = planned(shelf, "whole", source="z")
    assert found.complete
    assert ("z", "y", "whole") in chains(found)


def test_of_several_setups_the_one_that_knows_the_target_is_taken(shelf: Shelf) -> None:
    """
    A plan is for one setup: the one in which the target was measured, of this machine and as asked.
    """
    other = HERE.model_copy(update={"engine": "captured"})
    known = [*timed("small", 0.1, setup=other), *timed("large", 0.1)]

    assert known_here(shelf, known, subjects=["large"]).setup == HERE
    assert known_here(shelf, known, subjects=["large"], engine="captured").setup == other
    assert known_here(shelf, known, subjects=["large"], device="cuda").setup is None


def test_another_machines_measurements_are_not_ours(shelf: Shelf) -> None:
    """
    A team's store holds measurements of many machines; a plan takes those of this one.
    """
    theirs = HERE.model_copy(update={"host": "elsewhere"})

    assert known_here(shelf, timed("large", 0.1, setup=theirs)).setup is None


def test_what_steps_take_beside_forwards_is_assumed_too(shelf: Shelf) -> None:
    """
    A model that was not measured is not foreseen to draw its tokens for nothing where the others do not.
    """
    free = planned(shelf, "large", timed("large", 0.01))
    dear = planned(shelf, "large", timed("large", 0.01, outside=0.005))

    speeds = [{one.estimate.models: one.tokens_per_second for one in found.chains} for found in (free, dear)]
    assert speeds[1]["middle", "large"] < 0.8 * speeds[0]["middle", "large"]
