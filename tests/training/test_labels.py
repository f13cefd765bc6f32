"""Labels are what speculative sampling would do, and hidden states are what decoding would see."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaForCausalLM

from heads.pico.growth import new_model
from heads.training.examples import Examples
from heads.training.labels import acceptance_examples, branch_hidden, rows
from heads.training.warper import Warper
from registry.errors import ShapeError, UsageError
from tests.training.made import examples_of


def tiny(seed: int, vocab: int = 11) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    model = new_model(layers=1, width=8, inner=16, heads=1, vocab=vocab, positions=64)
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(30)
    model.eval()
    return model


@pytest.fixture(scope="module")
def pair() -> tuple[LlamaForCausalLM, LlamaForCausalLM]:
    return tiny(1), tiny(2)


TEXT = torch.randint(0, 11, (3, 9), generator=torch.Generator().manual_seed(7))
EVERYWHERE = torch.ones_like(TEXT, dtype=torch.bool)


def numbers(seed: int) -> torch.Tensor:
    return torch.rand(TEXT.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_labels_average_to_the_acceptance_of_speculative_sampling(
    pair: tuple[LlamaForCausalLM, LlamaForCausalLM],
) -> None:
    """
    Over many draws the mean label is the mean of sum(min(p, q)).
    """
    means = [
        acceptance_examples(*pair, TEXT, labelled=EVERYWHERE, uniform=numbers(seed)).acceptance
        for seed in range(400)
    ]

    q, p = (rows(model, TEXT)[:, :-1].exp() for model in pair)
    expected = torch.minimum(p, q).sum(dim=-1).mean()
    assert torch.cat(means).mean().item() == pytest.approx(expected.item(), abs=0.015)


def test_a_drawn_token_is_read_after_the_clean_text_before_it(
    pair: tuple[LlamaForCausalLM, LlamaForCausalLM],
) -> None:
    """
    Every branch's hidden state is that of a forward over its own prefix and token alone.
    """
    source, _ = pair
    drawn = torch.randint(0, 11, (3, 8), generator=torch.Generator().manual_seed(1))

    branches = branch_hidden(source, TEXT, drawn)

    for place in range(8):
        alone = torch.cat([TEXT[:, : place + 1], drawn[:, place : place + 1]], dim=1)
        expected = source.model(input_ids=alone).last_hidden_state[:, -1]
        assert torch.allclose(branches[:, place], expected, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.0, 1.0, 3.0])
def test_what_needs_no_head_is_of_the_models_own_rows(
    pair: tuple[LlamaForCausalLM, LlamaForCausalLM], temperature: float
) -> None:
    """
    Confidence and entropy are those of temperature 1, and the greedy token is marked, however tokens are drawn.
    """
    found = acceptance_examples(
        *pair, TEXT, labelled=EVERYWHERE, uniform=numbers(3), warper=Warper(temperature=temperature)
    )

    q, p = (rows(model, TEXT)[:, :-1].exp().flatten(0, 1) for model in pair)
    torch.testing.assert_close(torch.sigmoid(found.confidence), q.amax(dim=-1))
    torch.testing.assert_close(found.entropy, -(q * q.log()).sum(dim=-1))
    assert torch.equal(found.agreed, q.argmax(dim=-1) == p.argmax(dim=-1))
    sharper = [rows ** (1 / max(temperature, 0.02)) for rows in (q, p)]
    drawn = [rows / rows.sum(dim=-1, keepdim=True) for rows in sharper]
    best = q.argmax(dim=-1, keepdim=True)
    of_best = (drawn[1].gather(1, best) / drawn[0].gather(1, best)).clamp(max=1)[:, 0]
    if temperature == 0:
        assert bool(found.likeliest.all())
        assert torch.equal(found.acceptance.bool(), found.agreed)
    else:
        assert 0 < int(found.likeliest.sum()) < len(found)
        torch.testing.assert_close(found.acceptance[found.likeliest], of_best[found.likeliest])


def test_only_labelled_positions_give_examples(pair: tuple[LlamaForCausalLM, LlamaForCausalLM]) -> None:
    """
    A prompt carries no label, and neither does the first token of all.
    """
    labelled = torch.zeros_like(TEXT, dtype=torch.bool)
    labelled[:, 5:] = True

    part = acceptance_examples(*pair, TEXT, labelled=labelled, uniform=numbers(0))
    whole = acceptance_examples(*pair, TEXT, labelled=EVERYWHERE, uniform=numbers(0))

    assert len(part) == 3 * 4
    assert len(whole) == 3 * 8
    assert torch.allclose(part.hidden, whole.hidden.view(3, 8, -1)[:, 4:].flatten(0, 1), atol=1e-5)


def test_a_padded_vocabulary_is_no_obstacle(pair: tuple[LlamaForCausalLM, LlamaForCausalLM]) -> None:
    """
    A source with more output rows than the target draws only tokens that both have.
    """
    wide = tiny(1, vocab=13)

    found = acceptance_examples(wide, pair[1], TEXT, labelled=EVERYWHERE, uniform=numbers(0))

    assert bool(((found.acceptance >= 0) & (found.acceptance <= 1)).all())


def test_a_mask_of_another_shape_is_refused(pair: tuple[LlamaForCausalLM, LlamaForCausalLM]) -> None:
    """
    A mask that does not cover the text names both shapes.
    """
    with pytest.raises(ShapeError, match=r"expected \(3, 9\), got \(2, 9\)"):
        acceptance_examples(*pair, TEXT, labelled=torch.ones(2, 9).bool(), uniform=numbers(0))


def test_examples_join_in_order() -> None:
    """
    Parts are put one after the other.
    """
    part = examples_of(torch.zeros(2, 3), torch.tensor([0.1, 0.2]))

    assert Examples.joined([part, part]).acceptance.tolist() == pytest.approx([0.1, 0.2, 0.1, 0.2])


def test_branches_after_the_prompt_alone_are_those_of_all_places(
    pair: tuple[LlamaForCausalLM, LlamaForCausalLM],
) -> None:
    """
    Leaving out the branches of a prompt changes nothing for those behind it.
    """
    tokens = torch.randint(0, 11, (3, 8), generator=torch.Generator().manual_seed(1))

    every = branch_hidden(pair[0], TEXT, tokens)
    last = branch_hidden(pair[0], TEXT, tokens[:, 5:], first=5)

    assert torch.allclose(last, every[:, 5:], atol=1e-5)


def test_a_row_mixes_in_the_text_and_gives_no_example_there(
    pair: tuple[LlamaForCausalLM, LlamaForCausalLM],
) -> None:
    """
    As published: every draw stands in one row, but for mixed places, which hold the text's own token and no label.
    """
    source, _ = pair
    mixed = torch.zeros_like(EVERYWHERE)
    mixed[:, 4] = True

    row = acceptance_examples(*pair, TEXT, labelled=EVERYWHERE, uniform=numbers(0), mixed=mixed)
    branch = acceptance_examples(*pair, TEXT, labelled=EVERYWHERE, uniform=numbers(0))

    assert len(row) == 3 * 7
    kept = torch.tensor([0, 1, 2, 4, 5, 6, 7])
    # the labels are those of the same draws, and the first token is read after the same prefix either way
    assert torch.equal(row.acceptance, branch.acceptance.view(3, 8)[:, kept].flatten())
    assert torch.allclose(row.hidden[0], branch.hidden[0], atol=1e-5)
    rebuilt = TEXT.clone()
    q = rows(source, TEXT)[:, :-1].exp()
    cut = q.double().cumsum(dim=-1)
    drawn = torch.searchsorted(cut, numbers(0)[:, 1:, None] * cut[..., -1:], right=True)[..., 0]
    rebuilt[:, 1:] = torch.where(mixed[:, 1:], TEXT[:, 1:], drawn)
    expected = source.model(input_ids=rebuilt).last_hidden_state[:, 1:][:, kept].flatten(0, 1)
    assert torch.allclose(row.hidden, expected, atol=1e-5)


def test_labels_are_those_of_the_chosen_warper(pair: tuple[LlamaForCausalLM, LlamaForCausalLM]) -> None:
    """
    Greedy rows accept where both models have the same favourite, and nowhere else.
    """
    greedy = Warper(temperature=0.0)

    found = acceptance_examples(*pair, TEXT, labelled=EVERYWHERE, uniform=numbers(0), warper=greedy)

    q, p = (rows(model, TEXT)[:, :-1].argmax(dim=-1).flatten() for model in pair)
    assert torch.equal(found.acceptance, (q == p).float())


def test_a_source_that_sees_only_so_far_is_refused_branches(
    pair: tuple[LlamaForCausalLM, LlamaForCausalLM],
) -> None:
    """
    Branches would see past a sliding window: the refusal names the way out.
    """
    short = tiny(1)
    short.config.sliding_window = 4

    with pytest.raises(UsageError, match="--labels row"):
        acceptance_examples(short, pair[1], TEXT, labelled=EVERYWHERE, uniform=numbers(0))
