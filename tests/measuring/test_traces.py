"""Traces of tiny chains along texts of their last model."""

from __future__ import annotations

import copy

import pytest
import torch

from heads import Cascade
from heads.measuring.shares import overlap
from heads.measuring.texts import Text, target_texts, texts_key
from heads.measuring.traces import Heads, edge_traces
from heads.sampling import warp
from registry.planning.law import Law
from registry.planning.trace import EdgeTrace
from registry.records import Calibration, Outlook
from tests.heads.models import chain, noisy, random_head, tiny

GREEDY, SAMPLED = Law(), Law(temperature=1.0)
PROMPTS = [[3, 1, 4, 1, 5], [2, 7, 1, 8]]
LENGTH = 24
HEADS: Heads = {(0, 1): ("a", random_head(seed=1)), (0, 2): ("b", random_head(seed=2))}


@pytest.fixture(scope="module")
def cascade() -> Cascade:
    """Three models that agree now and then."""
    return Cascade(chain(count=3, noise=0.1), names=["little", "draft", "target"])


@pytest.fixture(scope="module")
def texts(cascade: Cascade) -> dict[str, list[Text]]:
    """By each law."""
    return {law.key: target_texts(cascade, PROMPTS, law, max_new_tokens=LENGTH) for law in (GREEDY, SAMPLED)}


@pytest.fixture(scope="module")
def traces(cascade: Cascade, texts: dict[str, list[Text]]) -> dict[str, dict[tuple[str, str], EdgeTrace]]:
    """By law and ends."""
    return {
        law.key: {(one.source, one.target): one for one in edge_traces(cascade, HEADS, texts[law.key], law)}
        for law in (GREEDY, SAMPLED)
    }


def test_every_pair_is_traced_along_the_same_texts(
    traces: dict[str, dict[tuple[str, str], EdgeTrace]], texts: dict[str, list[Text]]
) -> None:
    """
    Those that skip a model too; each has a number for each token, what lies below the top two kinds of them.
    """
    for key, found in traces.items():
        assert list(found) == [("little", "draft"), ("little", "target"), ("draft", "target")]
        assert {one.text_of for one in found.values()} == {"target"}
        assert len({one.texts_key for one in found.values()}) == 1
        for (_, target), trace in found.items():
            assert [one.prompt_tokens for one in trace.texts] == [len(one.prompt) for one in texts[key]]
            for one in trace.texts:
                assert len(one.kept) == LENGTH
                assert len(one.kept_otherwise) == (LENGTH if target == "draft" else 0)
                assert len(one.foreseen_kept) == len(one.foreseen_refused)
        assert [one.head_name for one in found.values()] == ["a", "b", None]
    keys = {one.texts_key for found in traces.values() for one in found.values()}
    assert len(keys) == 2


def test_greedy_shares_tell_how_rounds_go(
    cascade: Cascade, traces: dict[str, dict[tuple[str, str], EdgeTrace]]
) -> None:
    """
    Walked by hand at a fixed length, the trace gives the very rounds and the very tallies of the real cascade.
    """
    for (source, target), trace in traces["greedy"].items():
        if target != "target":
            continue
        part = cascade.part([cascade.names.index(source), 2])
        for prompt, one in zip(PROMPTS, trace.texts, strict=True):
            out = part.generate(prompt, max_new_tokens=LENGTH, max_draft=3, schedule="fixed", eos_token_id=[])
            place, rounds, kept = 0, 0, 0
            while place < LENGTH:
                drafted = min(3, LENGTH - place - 1)
                run = 0
                while run < drafted and one.kept[place + run]:
                    run += 1
                place, rounds, kept = place + run + 1, rounds + 1, kept + run
            assert (out.levels[1].forwards, out.levels[0].accepted) == (rounds, kept)


def test_sampled_shares_are_those_of_the_models_alone(
    cascade: Cascade,
    texts: dict[str, list[Text]],
    traces: dict[str, dict[tuple[str, str], EdgeTrace]],
) -> None:
    """
    Acceptance is the overlap of what transformers itself says at the text's places, and each share that of its token.
    """
    text = texts[SAMPLED.key][0]
    rows = []
    for model in cascade.models[1:]:
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([text.ids])).logits[0]
        rows.append(warp(logits[len(text.prompt) - 1 : -1], temperature=1.0))
    trace = edge_traces(cascade, {}, [text], SAMPLED)[-1]

    assert trace.acceptance == pytest.approx(float(overlap(*rows).mean()), abs=1e-5)
    ratios = [float(q[token] / p[token]) for q, p, token in zip(*rows, text.said, strict=True)]
    assert trace.texts[0].kept == pytest.approx([min(1.0, ratio) for ratio in ratios], abs=1e-4)
    assert trace.texts[0].kept == traces[SAMPLED.key]["draft", "target"].texts[0].kept


def test_heads_are_asked_what_decoding_asks(cascade: Cascade, texts: dict[str, list[Text]]) -> None:
    """
    After each token of the text, and after the source's own likeliest one in its place where the target differs.
    """
    text = texts["greedy"][1]
    trace = edge_traces(cascade, HEADS, [text], GREEDY)[1].texts[0]
    head, source, target = HEADS[0, 2][1], cascade.models[0], cascade.models[2]
    first = len(text.prompt)
    differing = 0
    for place in range(LENGTH):
        before = text.ids[: first + place]
        with torch.inference_mode():
            own, theirs = (
                int(model(input_ids=torch.tensor([before])).logits[0, -1].argmax())
                for model in (source, target)
            )
            foreseen = [
                float(head.acceptance(source.base_model(torch.tensor([[*before, token]]))[0][0, -1:])[0])
                for token in (text.said[place], own)
            ]
        assert trace.kept[place] == (own == theirs)
        differing += own != theirs
        assert (trace.foreseen_kept[place], trace.foreseen_refused[place]) == pytest.approx(
            foreseen, abs=1e-4
        )
    assert 0 < differing < LENGTH


def test_a_narrow_window_leaves_foresight_out() -> None:
    """
    A model that sees less than the text is traced without what its head says, and that is told.
    """
    target = tiny("mistral")
    cascade = Cascade([noisy(target), target], names=["little", "target"])
    texts = target_texts(cascade, PROMPTS[:1], GREEDY, max_new_tokens=4)
    told: list[str] = []

    trace = edge_traces(cascade, {(0, 1): ("a", random_head())}, texts, GREEDY, said=told.append)[0]

    assert trace.head_name is None
    assert trace.texts[0].foreseen_kept == trace.texts[0].foreseen_refused == ()
    assert len(trace.texts[0].kept) == 4
    assert told
    assert "little" in told[0]


def test_a_copy_agrees_with_itself() -> None:
    """
    Where nothing is ever refused, all shares are one, and the head is asked about the text alone.
    """
    target = tiny()
    cascade = Cascade([copy.deepcopy(target), target], names=["copy", "target"])
    texts = target_texts(cascade, PROMPTS, SAMPLED, max_new_tokens=6)

    trace = edge_traces(cascade, {(0, 1): ("a", random_head())}, texts, SAMPLED)[0]

    assert trace.acceptance == pytest.approx(1.0)
    for one in trace.texts:
        assert one.kept == (1.0,) * 6
        assert one.foreseen_refused == one.foreseen_kept


def test_texts_are_told_apart(texts: dict[str, list[Text]]) -> None:
    """
    By their tokens and by the law they were drawn by, and by nothing else.
    """
    found = texts["greedy"]

    assert texts_key(found, GREEDY) == texts_key(list(found), GREEDY)
    others = {texts_key(found[:1], GREEDY), texts_key(found, SAMPLED), texts_key(texts[SAMPLED.key], GREEDY)}
    assert texts_key(found, GREEDY) not in others
    assert len(others) == 3


def test_with_an_outlook_a_trace_tells_what_decoding_is_told(
    cascade: Cascade, texts: dict[str, list[Text]]
) -> None:
    """
    By head and confidence after each token, and by confidence alone before; of the other way to draw by the head.
    """
    head = random_head(seed=1)
    outlook = Outlook(head=0.7, confidence=0.5, bias=0.1, next_confidence=0.4, next_bias=0.2)
    head.calibration = Calibration(scale=1.0, bias=0.0, greedy=outlook)
    heads: Heads = {(0, 1): ("a", head)}

    greedy, sampled = (edge_traces(cascade, heads, texts[law.key], law)[0] for law in (GREEDY, SAMPLED))

    text, told = texts["greedy"][0], greedy.texts[0]
    with torch.inference_mode():
        shown = cascade.models[0](input_ids=torch.tensor([text.ids]), output_hidden_states=True)
        places = slice(len(text.prompt), len(text.ids))
        odds = torch.logit(shown.logits[0].softmax(dim=-1).amax(dim=-1))[places.start - 1 : places.stop - 1]
        logit = head.logit(shown.hidden_states[-1][0, places])
    read = torch.sigmoid(0.7 * logit + 0.5 * odds + 0.1)
    torch.testing.assert_close(torch.tensor(told.foreseen_kept), read, atol=1e-4, rtol=0)
    torch.testing.assert_close(
        torch.tensor(told.next_foreseen), torch.sigmoid(0.4 * odds + 0.2), atol=1e-4, rtol=0
    )
    assert sampled.texts[0].next_foreseen == ()
    assert sampled.texts[0].foreseen_kept
    assert greedy.without_head().texts[0].next_foreseen == ()
