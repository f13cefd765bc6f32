"""Labels are what speculative sampling would do, and hidden states are what decoding would see."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaForCausalLM

from heads.labels import Examples, acceptance_examples, before_end, rows
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
        acceptance_examples(
            *pair, TEXT, labelled=everywhere, mixing_ratio=0.0, generator=generator
        ).acceptance
        for _ in range(400)
    ]

    q, p = (rows(model, TEXT)[:, :-1].exp() for model in pair)
    expected = torch.minimum(p, q).sum(dim=-1).mean()
    assert torch.cat(means).mean().item() == pytest.approx(expected.item(), abs=0.015)


def test_hidden_states_are_the_sources_own_on_the_text_it_read(
    pair: tuple[LlamaForCausalLM, LlamaForCausalLM],
) -> None:
    """
    With every token mixed but the last, the last hidden state follows the text and then the drawn token.
    """
    source, _ = pair
    labelled = torch.zeros_like(TEXT, dtype=torch.bool)
    labelled[:, -1] = True
    found = acceptance_examples(
        *pair, TEXT, labelled=labelled, mixing_ratio=0.0, generator=torch.Generator().manual_seed(3)
    )

    candidates = torch.stack([torch.cat([TEXT[0, :-1], torch.tensor([token])]) for token in range(11)])
    hidden = source.model(input_ids=candidates).last_hidden_state[:, -1]
    distances = (hidden - found.hidden[0]).abs().amax(dim=-1)
    assert distances.min().item() < 1e-5


def test_prompts_and_mixed_positions_carry_no_label(pair: tuple[LlamaForCausalLM, LlamaForCausalLM]) -> None:
    """
    Only labelled positions give examples, and none of those that keep the text's own token.
    """
    labelled = torch.zeros_like(TEXT, dtype=torch.bool)
    labelled[:, 5:] = True
    generator = torch.Generator().manual_seed(0)

    whole = acceptance_examples(*pair, TEXT, labelled=labelled, mixing_ratio=0.0, generator=generator)
    none = acceptance_examples(*pair, TEXT, labelled=labelled, mixing_ratio=1.0, generator=generator)

    assert len(whole) == 3 * 4
    assert len(none) == 0


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


def test_nothing_counts_after_the_first_end_token() -> None:
    """
    A row counts up to and including its first end token.
    """
    continuation = torch.tensor([[5, 0, 6, 0], [1, 2, 3, 4]])

    assert before_end(continuation, [0]).tolist() == [[True, True, False, False], [True, True, True, True]]


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
