"""Labels are what speculative sampling would do, and hidden states are what decoding would see."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaForCausalLM

from heads.labels import Examples, acceptance_examples, branch_hidden, rows
from heads.pico.growth import new_model
from registry.errors import ShapeError


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


def test_labels_average_to_the_acceptance_of_speculative_sampling(
    pair: tuple[LlamaForCausalLM, LlamaForCausalLM],
) -> None:
    """
    Over many draws the mean label is the mean of sum(min(p, q)).
    """
    generator = torch.Generator().manual_seed(0)
    everywhere = torch.ones_like(TEXT, dtype=torch.bool)
    means = [
        acceptance_examples(*pair, TEXT, labelled=everywhere, generator=generator).acceptance
        for _ in range(400)
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


def test_only_labelled_positions_give_examples(pair: tuple[LlamaForCausalLM, LlamaForCausalLM]) -> None:
    """
    A prompt carries no label, and neither does the first token of all.
    """
    labelled = torch.zeros_like(TEXT, dtype=torch.bool)
    labelled[:, 5:] = True
    generator = torch.Generator().manual_seed(0)

    part = acceptance_examples(*pair, TEXT, labelled=labelled, generator=generator)
    whole = acceptance_examples(*pair, TEXT, labelled=torch.ones_like(labelled), generator=generator)

    assert len(part) == 3 * 4
    assert len(whole) == 3 * 8


def test_a_padded_vocabulary_is_no_obstacle(pair: tuple[LlamaForCausalLM, LlamaForCausalLM]) -> None:
    """
    A source with more output rows than the target draws only tokens that both have.
    """
    wide = tiny(1, vocab=13)
    everywhere = torch.ones_like(TEXT, dtype=torch.bool)

    found = acceptance_examples(
        wide, pair[1], TEXT, labelled=everywhere, generator=torch.Generator().manual_seed(0)
    )

    assert bool(((found.acceptance >= 0) & (found.acceptance <= 1)).all())


def test_a_mask_of_another_shape_is_refused(pair: tuple[LlamaForCausalLM, LlamaForCausalLM]) -> None:
    """
    A mask that does not cover the text names both shapes.
    """
    with pytest.raises(ShapeError, match=r"expected \(3, 9\), got \(2, 9\)"):
        acceptance_examples(*pair, TEXT, labelled=torch.ones(2, 9).bool(), generator=torch.Generator())


def test_examples_join_in_order() -> None:
    """
    Parts are put one after the other.
    """
    part = Examples(
        hidden=torch.zeros(2, 3),
        acceptance=torch.tensor([0.1, 0.2]),
        max_probability=torch.ones(2),
        entropy=torch.ones(2),
    )

    assert Examples.joined([part, part]).acceptance.tolist() == pytest.approx([0.1, 0.2, 0.1, 0.2])
