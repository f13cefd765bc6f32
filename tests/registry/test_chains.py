"""From source to target: which chain is chosen, and what is said when there is none."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry import chains
from registry.catalog import load_catalog
from registry.chains import Chain, Refusal, candidates, lone, resolve
from registry.errors import CheckpointError, NoChainError, UnknownNameError, UsageError
from registry.facts import EdgeFacts
from registry.records import Catalog, Head, Model, Source, TokenizerFamily, TrainingSummary
from registry.tokens.vocabulary import Vocabulary

NAMES = "abcdefg"
RUN = "exp-weight6-layer3"
Measured = dict[tuple[str, str, str], float | None]
Known = dict[str, EdgeFacts]
FITS = EdgeFacts(head_hidden_size=8, head_layers=3, stored_layers=3)
WIDE = EdgeFacts(head_hidden_size=9, head_layers=3, stored_layers=3)


def head(source: str, target: str, run: str = RUN, kl: float | None = None) -> Head:
    training = None if kl is None else TrainingSummary(final_eval_kl=kl)
    return Head.model_validate(
        {"source": source, "target": target, "run": run, "from": "here", "training": training}
    )


def catalog(
    *edges: str | Head, models: Sequence[str] = NAMES, families: dict[str, str] | None = None
) -> Catalog:
    """`catalog("ab", "bc")` has the heads a -> b and b -> c; all models share the tokenizer t unless said."""
    family = families or {}
    return Catalog(
        sources={"here": Source(path="heads")},
        tokenizers={name: TokenizerFamily(vocab_size=90) for name in {"t", *family.values()}},
        models={
            name: Model(alias=name, hidden_size=8, vocab_size=100, tokenizer=family.get(name, "t"))
            for name in models
        },
        heads=tuple(edge if isinstance(edge, Head) else head(edge[0], edge[1]) for edge in edges),
    )


def facts(**by_edge: EdgeFacts) -> Callable[[Head], EdgeFacts]:
    """`facts(ab=WIDE)`: what is on disk for a -> b, and FITS for every other edge."""
    return lambda one: by_edge.get(one.source + one.target, FITS)


def named(chain: Chain) -> str:
    return "".join(chain.names)


def runs(chain: Chain) -> list[str]:
    return [one.run for one in chain.heads]


def refused(held: Catalog, source: str, target: str, **options: Any) -> NoChainError:
    with pytest.raises(NoChainError) as caught:
        resolve(held, source, target, **options)
    return caught.value


@pytest.fixture
def catalog_with_a_to_b() -> Catalog:
    return catalog("ab")


def test_head_points_one_way(catalog_with_a_to_b: Catalog) -> None:
    """
    A head trained for a -> b is no road from b to a.
    """
    with pytest.raises(NoChainError) as caught:
        resolve(catalog_with_a_to_b, source="b", target="a")

    assert caught.value.refusals == ()
    assert caught.value.reason == "other way round"
    assert "Try `specreg chain a b`" in str(caught.value)


def test_three_models_are_preferred_to_two() -> None:
    """
    Little, draft, target is what heads are for: a direct edge does not displace it, nor does a longer chain.
    """
    held = catalog("ad", "ab", "bd", "bc", "cd")

    assert [named(chain) for chain in candidates(held, "a", "d").chains] == ["abd", "ad", "abcd"]
    assert named(resolve(held, "a", "d")) == "abd"


def test_else_the_fewest_models() -> None:
    """
    Without a chain of three the shortest is taken.
    """
    assert named(resolve(catalog("ac", "ab", "bd", "dc"), "a", "c")) == "ac"
    assert named(resolve(catalog("ab", "bc", "cd", "de", "ce"), "a", "e")) == "abce"


@pytest.mark.parametrize(
    ("count", "roles"),
    [
        (1, ["target"]),
        (2, ["draft", "target"]),
        (3, ["little", "draft", "target"]),
        (4, ["little", "draft-1", "draft-2", "target"]),
        (6, ["little", "draft-1", "draft-2", "draft-3", "draft-4", "target"]),
    ],
)
def test_roles_by_number_of_models(count: int, roles: list[str]) -> None:
    """
    Roles go from the smallest model to the target, in the order of the chain.
    """
    held = catalog("ab", "bc", "cd", "de", "ef")
    last = NAMES[count - 1]
    chain = lone(held, "a") if count == 1 else resolve(held, "a", last)

    assert chain.roles == dict(zip(roles, NAMES, strict=False))


def test_findings_cover_every_edge_and_the_chain() -> None:
    """
    Every head is judged, and so is the chain as a whole.
    """
    chain = resolve(catalog("ab", "bc"), "a", "c", facts=facts())
    subjects = {finding.subject for finding in chain.findings}

    assert {f"a--to--b/{RUN}", f"b--to--c/{RUN}", "a -> b -> c", "a -> c"} == subjects
    assert {finding.status for finding in chain.findings} == {"pass"}
    assert chain.compatible


def test_unknown_is_compatible_but_no_pass() -> None:
    """
    Before any file is here a chain is offered, with what is not known marked so.
    """
    chain = resolve(catalog("ab"), "a", "b")

    assert chain.compatible
    assert [finding.check for finding in chain.findings if finding.status == "unknown"] == [
        "hidden_size",
        "depth",
    ]


def test_chain_that_does_not_fit_is_passed_over() -> None:
    """
    A head of the wrong width takes its chain out; the next best is chosen.
    """
    held = catalog("ab", "bd", "ac", "cd")

    assert named(resolve(held, "a", "d", facts=facts())) == "abd"
    assert named(resolve(held, "a", "d", facts=facts(bd=WIDE))) == "acd"
    assert named(resolve(catalog("ab", "bd", "ad"), "a", "d", facts=facts(bd=WIDE))) == "ad"


def test_pass_comes_before_unknown() -> None:
    """
    A chain whose checks all pass is better than one not known yet, whatever the names and KLs.
    """
    held = catalog(head("a", "b", kl=0.1), head("b", "d", kl=0.1), "ac", "cd")

    assert named(resolve(held, "a", "d", facts=facts(bd=EdgeFacts()))) == "acd"


def test_lower_kl_comes_first() -> None:
    """
    Among runs that fit equally the lower final evaluation KL wins, not the name.
    """
    held = catalog(head("a", "b", "r1", 0.5), head("a", "b", "r2", 0.2), head("a", "b", "r0", None))

    assert runs(resolve(held, "a", "b")) == ["r2"]
    assert [runs(chain) for chain in candidates(held, "a", "b").chains] == [["r2"], ["r1"], ["r0"]]


def test_kl_is_compared_over_the_whole_chain() -> None:
    """
    Of two chains with every KL recorded the lower sum wins.
    """
    held = catalog(
        head("a", "b", kl=0.1), head("b", "d", kl=0.5), head("a", "c", kl=0.3), head("c", "d", kl=0.2)
    )

    assert named(resolve(held, "a", "d")) == "acd"


def test_names_settle_what_is_left() -> None:
    """
    With all else equal the first by name is taken.
    """
    assert named(resolve(catalog("ac", "cd", "ab", "bd"), "a", "d")) == "abd"
    assert runs(resolve(catalog(head("a", "b", "r2"), head("a", "b", "r1")), "a", "b")) == ["r1"]


def test_extreme_kl_does_not_overflow() -> None:
    """
    KLs as large or small as a float can be are still compared.
    """
    held = catalog(head("a", "b", "r1", 1e308), head("a", "b", "r2", 5e-324), head("a", "b", "r3", -1e308))

    assert [runs(chain) for chain in candidates(held, "a", "b").chains] == [["r3"], ["r2"], ["r1"]]


edges = st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES), st.sampled_from(["r1", "r2"]))
measured = st.dictionaries(edges, st.none() | st.sampled_from([0.1, 0.2, 0.3]), max_size=20)
known = st.dictionaries(
    st.sampled_from(["".join(pair) for pair in itertools.permutations(NAMES, 2)]),
    st.sampled_from([FITS, WIDE, EdgeFacts()]),
    max_size=20,
)
thorough = settings(max_examples=150, deadline=None, derandomize=True)


def answer(held: Catalog, **options: Any) -> list[tuple[str, list[str], bool]] | str:
    try:
        found = candidates(held, "a", "g", **options).chains
    except NoChainError as error:
        return f"{error.reason}: {error}"
    return [(named(chain), runs(chain), chain.compatible) for chain in found]


@thorough
@given(measured, known, st.randoms(use_true_random=False))
def test_catalog_s_order_does_not_show(listed: Measured, on_disk: Known, shuffler: Random) -> None:
    """
    The same entries in another order give the same chains in the same order, and the same words of refusal.
    """
    heads = [head(*edge, kl) for edge, kl in listed.items()]
    one = catalog(*heads)
    other = catalog(*shuffler.sample(heads, len(heads)), models=shuffler.sample(NAMES, len(NAMES)))

    assert answer(one, facts=facts(**on_disk)) == answer(other, facts=facts(**on_disk))


def rank(chain: Chain) -> tuple[Any, ...]:
    """The documented order, computed from a finished chain."""
    trainings = [one.training for one in chain.heads]
    kls = [None if training is None else training.final_eval_kl for training in trainings]
    unknown = {finding.subject for finding in chain.findings if finding.status == "unknown"}
    return (
        len(chain.models) != 3,
        len(chain.models),
        sum(one.name in unknown for one in chain.heads),
        sum(kl is None for kl in kls),
        sum(round(kl * 10) for kl in kls if kl is not None),
        [(one.target, one.run) for one in chain.heads],
    )


@thorough
@given(measured, known)
def test_choice_is_the_best_of_all_that_fit(listed: Measured, on_disk: Known) -> None:
    """
    Nothing that fits ranks before the chosen chain, and what does not fit is never chosen.
    """
    held = catalog(*(head(*edge, kl) for edge, kl in listed.items()))
    try:
        found = candidates(held, "a", "g", facts=facts(**on_disk), limit=10_000).chains
    except NoChainError:
        return
    fitting = [chain for chain in found if chain.compatible]
    assert fitting == sorted(fitting, key=rank)
    assert list(found[: len(fitting)]) == fitting
    if fitting:
        assert resolve(held, "a", "g", facts=facts(**on_disk)) == fitting[0]
    else:
        error = refused(held, "a", "g", facts=facts(**on_disk))
        assert (error.reason, len(error.refusals)) == ("refused", min(len(found), chains.LISTED))


@thorough
@given(measured)
def test_chain_is_whole(listed: Measured) -> None:
    """
    Every chain starts and ends where it was asked to, joins neighbour to neighbour, and repeats no model.
    """
    held = catalog(*(head(*edge, kl) for edge, kl in listed.items()))
    try:
        found = candidates(held, "a", "g").chains
    except NoChainError:
        return
    for chain in found:
        assert (chain.names[0], chain.names[-1]) == ("a", "g")
        assert [(one.source, one.target) for one in chain.heads] == list(itertools.pairwise(chain.names))
        assert len(set(chain.names)) == len(chain.names) <= 6


@thorough
@given(measured, st.sampled_from(["r1", "r2"]))
def test_every_edge_that_has_the_run_takes_it(listed: Measured, run: str) -> None:
    """
    With --run an edge that has the run uses it, the others keep what they would take anyway.
    """
    held = catalog(*(head(*edge, kl) for edge, kl in listed.items()))
    try:
        found = candidates(held, "a", "g", run=run).chains
    except NoChainError:
        return
    for chain in found:
        assert run in runs(chain)
        for one in chain.heads:
            assert one.run == run or (one.source, one.target, run) not in listed


def test_exact_length() -> None:
    """
    --length counts models, neither more nor fewer.
    """
    held = catalog("ad", "ab", "bd", "bc", "cd")

    assert [named(resolve(held, "a", "d", length=count)) for count in (2, 3, 4)] == ["ad", "abd", "abcd"]
    assert [named(chain) for chain in candidates(held, "a", "d", length=4).chains] == ["abcd"]


@pytest.mark.parametrize(
    ("via", "expected"), [("c", "acd"), (["b"], "abd"), (["c", "b"], "abcd"), ([], "abd")]
)
def test_models_to_pass(via: str | list[str], expected: str) -> None:
    """
    --via takes one model or several, in any order.
    """
    assert named(resolve(catalog("ab", "bd", "ac", "cd", "bc"), "a", "d", via=via)) == expected


def test_run_is_found_without_regard_to_case() -> None:
    """
    A run is named as a model is.
    """
    held = catalog(head("a", "b", "Best"), head("a", "b", "another"))

    assert runs(resolve(held, "a", "b", run="best")) == ["Best"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"length": 5}, ["with --length 5", "Lengths of the chains between them: 2, 3."]),
        ({"via": "e"}, ["with --via e", "Models between them: b."]),
        ({"run": "r9"}, ["with --run r9", f"Training runs of the heads between them: {RUN}, special."]),
        (
            {"length": 2, "via": ["b"]},
            ["with --length 2 --via b", "Lengths of the chains between them: 2, 3."],
        ),
        ({"length": 2, "run": "special"}, ["Lengths of the chains between them: 2, 3.", "special."]),
    ],
    ids=str,
)
def test_narrowing_to_nothing_says_what_there_is(options: dict[str, Any], words: list[str]) -> None:
    """
    When the options leave no chain, the message lists what each of them could have been.
    """
    held = catalog("ab", "ad", head("b", "d", "special"), "de", "eb")
    error = refused(held, "a", "d", **options)

    assert error.reason == "narrowed"
    for word in words:
        assert word in str(error)


@pytest.mark.parametrize("length", [-1, 0, 1, 13])
def test_length_out_of_range_is_wrong_usage(length: int) -> None:
    """
    A chain has two models at least and a dozen at most; anything else is a mistake of the caller's.
    """
    with pytest.raises(UsageError, match=f"expected 2 to 12, got {length}"):
        resolve(catalog("ab"), "a", "b", length=length)


def test_chain_past_six_models_has_to_be_asked_for() -> None:
    """
    Six models are the most by default; the message says which length there is, and that works.
    """
    held = catalog("ab", "bc", "cd", "de", "ef", "fg")
    error = refused(held, "a", "g")

    assert "the shortest has 7: try --length 7" in str(error)
    assert named(resolve(held, "a", "g", length=7)) == NAMES


def test_no_path_tells_how_far_each_end_goes() -> None:
    """
    Two models that nothing joins: what the one reaches, and what reaches the other.
    """
    error = refused(catalog("ab", "bc", "de"), "a", "e")

    assert error.reason == "no path"
    assert (error.reaches, error.reached_from) == (("b", "c"), ("d",))
    assert "a reaches b, c; e is reached from d" in str(error)


def test_model_without_heads_reaches_nothing() -> None:
    """
    A model that no head leaves is said to reach nothing.
    """
    assert "a reaches nothing; b is reached from nothing" in str(refused(catalog(), "a", "b"))


def test_long_lists_of_names_are_cut() -> None:
    """
    A message names a few and counts the rest; the error's field holds them all.
    """
    many = [f"m{number:02}" for number in range(20)]
    held = catalog(*(head("a", name) for name in many), models=["a", "z", *many])
    error = refused(held, "a", "z")

    assert "m07 and 12 more" in str(error)
    assert "m08" not in str(error)
    assert error.reaches == tuple(many)


def test_unknown_name_is_told_with_suggestions() -> None:
    """
    A name that nothing bears is another error than no chain, at either end and in --via.
    """
    held = catalog("ab", models=["a", "b", "qwen3-0.6b"])
    requests: list[dict[str, Any]] = [{"target": "qwen3-0.6"}, {"target": "b", "via": "qwen3-0.6"}]
    for options in requests:
        with pytest.raises(UnknownNameError) as caught:
            resolve(held, "a", **options)
        assert caught.value.suggestions == ("qwen3-0.6b",)


def test_every_refusal_is_carried() -> None:
    """
    When no candidate fits, the error holds each of them with its failed findings, and says the first.
    """
    held = catalog("ab", "bd", "ac", "cd", "ad", families={"d": "other"})
    error = refused(held, "a", "d")

    assert error.reason == "refused"
    refusals = [refusal for refusal in error.refusals if isinstance(refusal, Refusal)]
    assert [refusal.models for refusal in refusals] == [("a", "b", "d"), ("a", "c", "d"), ("a", "d")]
    assert {finding.status for refusal in refusals for finding in refusal.findings} == {"fail"}
    assert "3 candidates were refused. The first: a -> b -> d" in str(error)
    assert "expected one tokenizer, got 't' for b and 'other' for d" in str(error)


def test_refused_candidates_are_listed_last() -> None:
    """
    `candidates` shows what `resolve` would refuse, after all that fits, with the reasons.
    """
    held = catalog("ab", "bd", "ac", "cd", families={"b": "other"})
    found = candidates(held, "a", "d").chains

    assert [(named(chain), chain.compatible) for chain in found] == [("acd", True), ("abd", False)]


def pieces(**texts: str) -> Vocabulary:
    """Ids 0 (the end) and 1 for all; `pieces(i5="x")` has the piece x as id 5 as well."""
    extra = {int(name[1:]): text for name, text in texts.items()}
    return Vocabulary(pieces={0: "</s>", 1: "a", **extra}, eos_id=0, end_ids=frozenset({0}))


def reading(**tokenizers: Vocabulary) -> Callable[[Head], EdgeFacts]:
    """Facts in which these models' tokenizers are on disk."""
    return lambda one: replace(
        FITS, source_tokenizer=tokenizers.get(one.source), target_tokenizer=tokenizers.get(one.target)
    )


def test_ends_that_do_not_fit_are_refused_though_every_edge_does() -> None:
    """
    First and last model may disagree on a piece that the middle one lacks: that chain is refused.
    """
    held = catalog("ab", "bd", "ac", "cd", "ad")
    on_disk = reading(a=pieces(i5="x"), b=pieces(), c=pieces(), d=pieces(i5="y"))
    alone = reading(a=pieces(i5="x"), b=pieces(), d=pieces(i5="x"))

    assert resolve(held, "a", "d", facts=alone).compatible
    error = refused(held, "a", "d", facts=on_disk)
    assert error.reason == "refused"
    assert "a -> d: id 5 is 'x' to a and 'y' to d" in str(error)


def test_refusals_of_whole_chains_are_listed_last_too() -> None:
    """
    Another end token two models further on takes a chain out that every edge lets pass; a longer one that
    fits is chosen and listed before it.
    """
    held = catalog("ab", "bc", "cd", "ae", "ef", "fg", "gd")
    on_disk = reading(a=pieces(), c=replace(pieces(), eos_id=1, end_ids=frozenset({1})))
    found = candidates(held, "a", "d", facts=on_disk).chains

    assert [(named(chain), chain.compatible) for chain in found] == [("aefgd", True), ("abcd", False)]
    assert resolve(held, "a", "d", facts=on_disk) == found[0]


def test_tokenizer_read_for_one_edge_serves_the_whole_chain() -> None:
    """
    A middle model whose tokenizer only one of its two edges has read is known to the whole chain; families
    that content has shown to be one do not refuse it.
    """

    def only_first(one: Head) -> EdgeFacts:
        read = pieces() if one.target == "b" else None
        return replace(FITS, source_tokenizer=read, target_tokenizer=read)

    chain = resolve(catalog("ab", "bc", families={"a": "u"}), "a", "c", facts=only_first)
    details = {finding.check: finding.detail for finding in chain.findings}

    assert details["ends"] == "the end token is not known for c"
    assert "each edge between is judged by itself" in details["tokenizer"]


def test_unreadable_head_is_refused_not_fatal() -> None:
    """
    A file that cannot be read takes its own chain out and leaves the others.
    """

    def broken(one: Head) -> EdgeFacts:
        if one.target == "b":
            raise CheckpointError(
                "config.json cannot be used: expected JSON, got nothing.", path="config.json"
            )
        return FITS

    held = catalog("ab", "bd", "ac", "cd")

    assert named(resolve(held, "a", "d", facts=broken)) == "acd"
    assert "config.json cannot be used" in str(refused(held, "a", "b", facts=broken))


def test_each_edge_is_looked_up_once() -> None:
    """
    Files are read once per head, however many chains share it, and never for heads off the way.
    """
    asked: list[str] = []

    def counting(one: Head) -> EdgeFacts:
        asked.append(one.source + one.target)
        return FITS

    candidates(catalog("ab", "bc", "bd", "cd", "ae", "fd"), "a", "d", facts=counting)

    assert sorted(asked) == ["ab", "bc", "bd", "cd"]


def test_list_of_candidates_is_bounded() -> None:
    """
    A list ends at its limit and says how many were left off, or that there are more than it counted.
    """
    held = catalog(*map("".join, itertools.permutations(NAMES, 2)))
    all_of_them = candidates(held, "a", "g", limit=1000)
    some = candidates(held, "a", "g", limit=10)

    assert (len(all_of_them.chains), all_of_them.left_off, all_of_them.complete) == (206, 0, True)
    assert (len(some.chains), some.left_off, some.complete) == (10, 196, True)
    assert some.chains == all_of_them.chains[:10]


def test_counting_ends_somewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Past the number that is counted a list only says that it is not complete.
    """
    monkeypatch.setattr(chains, "COUNTED", 20)
    held = catalog(*map("".join, itertools.permutations(NAMES, 2)))
    some = candidates(held, "a", "g", limit=10)

    assert (some.left_off, some.complete) == (20, False)


def test_model_alone() -> None:
    """
    One model is a chain without heads, for plain decoding.
    """
    chain = lone(catalog(), "A")

    assert (chain.names, chain.heads, chain.findings, chain.roles) == (("a",), (), (), {"target": "a"})
    assert chain.compatible


def test_no_chain_from_a_model_to_itself() -> None:
    """
    A cycle is no chain: a model is not its own target.
    """
    error = refused(catalog("ab", "ba", "aa"), "a", "a")

    assert error.reason == "no path"
    assert "expected two models, got one twice" in str(error)


def edges_of(held: Catalog) -> Iterable[tuple[str, str]]:
    return {(one.source, one.target) for one in held.heads}


def test_published_qwen3_chains() -> None:
    """
    The built-in catalog's qwen3 models form one line, and every chain on it is found.
    """
    held = load_catalog(environ={})
    line = ["qwen3-0.6b", "qwen3-1.7b", "qwen3-14b", "qwen3-32b"]
    for first, last in itertools.combinations(range(4), 2):
        chain = resolve(held, line[first], line[last])
        assert chain.names == tuple(line[first : last + 1])
        assert refused(held, line[last], line[first]).reason == "other way round"


def test_every_published_pair_of_models_is_answered() -> None:
    """
    For any two models of the built-in catalog there is a chain just where its edges join them, and no edge is
    refused on what the catalog says.
    """
    held = load_catalog(environ={})
    joined = set(edges_of(held))
    for _ in held.models:
        joined |= {(a, d) for a, b in joined for c, d in joined if b == c}
    for source, target in itertools.permutations(held.models, 2):
        if (source, target) in joined:
            assert resolve(held, source, target).compatible
        else:
            assert refused(held, source, target).reason in {"no path", "other way round"}


def test_published_names_find_the_chain() -> None:
    """
    Hub ids, the publisher's aliases and any case lead to the same chain.
    """
    held = load_catalog(environ={})

    assert resolve(held, "Qwen/Qwen3-0.6B", "QWEN3-14b") == resolve(held, "qwen3-0.6b", "qwen3-14b")


def crowd(models: int, heads: int, families: int) -> Catalog:
    """Random heads, with a fixed seed."""
    chance = Random(7)  # noqa: S311 - a fixed seed is the point
    names = [f"m{number}" for number in range(models)]
    ends = (chance.sample(names, 2) for _ in range(heads + heads // 50))
    pairs = {(source, target) for source, target in ends}
    listed = [
        head(source, target, f"exp-weight{chance.randrange(9)}-layer3", chance.random())
        for source, target in sorted(pairs)
    ]
    return catalog(
        *listed[:heads],
        models=names,
        families={name: f"t{number % families}" for number, name in enumerate(names)},
    )


@pytest.mark.parametrize("families", [1, 3], ids=["all fit", "most refused"])
def test_ten_thousand_heads_are_answered_at_once(families: int) -> None:
    """
    A thousand models and ten thousand heads: under a second of processor time is usual, five are allowed.
    """
    held = crowd(1000, 10_000, families)
    assert len(held.heads) == 10_000
    reasons = set()
    narrowings: list[dict[str, Any]] = [{}, {"length": 6}, {"run": RUN}, {"length": 2}, {"via": "m500"}]
    for options in narrowings:
        started = time.process_time()
        try:
            resolve(held, "m1", "m999", **options)
        except NoChainError as error:
            reasons.add(error.reason)
        assert time.process_time() - started < 5
    assert "narrowed" in reasons
    assert ("refused" in reasons) == (families > 1)


def test_import_stays_light() -> None:
    """
    Resolving a chain loads no tensor library, no tokenizer library and no network client.
    """
    heavy = ["torch", "transformers", "tokenizers", "huggingface_hub", "sqlmodel", "safetensors"]
    code = f"import sys, registry.chains; print([name for name in {heavy!r} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert shown.stdout.strip() == "[]"
