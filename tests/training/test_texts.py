"""Continuations of many prompts at once are those of each alone."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import chisquare
from transformers import GenerationConfig, LlamaForCausalLM

from heads.pico.growth import new_model
from heads.training.texts import continuations, end_tokens_of
from heads.training.warper import Warper, drawn, uniform_numbers
from tests.training.test_labels import tiny


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    return tiny(1)


PROMPTS = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10], [3, 3]]


def numbers(prompts: range, count: int = 12) -> torch.Tensor:
    return torch.stack([uniform_numbers(0, "text", one, count) for one in prompts])


def test_a_prompt_gets_the_same_whoever_stands_beside_it(model: LlamaForCausalLM) -> None:
    """
    Padding is masked, and each prompt draws by its own numbers.
    """
    together = continuations(model, PROMPTS, uniform=numbers(range(4)))

    alone = [
        continuations(model, [prompt], uniform=numbers(range(at, at + 1)))[0]
        for at, prompt in enumerate(PROMPTS)
    ]
    assert together == alone
    assert [len(text) - len(prompt) for text, prompt in zip(together, PROMPTS, strict=True)] == [12] * 4


def test_greedy_texts_are_those_of_generate(model: LlamaForCausalLM) -> None:
    """
    At temperature 0 they are what transformers' own generation says, token for token.
    """
    found = continuations(model, PROMPTS, uniform=numbers(range(4)), warper=Warper(temperature=0))

    config = GenerationConfig(max_new_tokens=12, do_sample=False, pad_token_id=0, eos_token_id=None)
    for prompt, text in zip(PROMPTS, found, strict=True):
        ids = torch.tensor([prompt])
        alone = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)
        assert text == alone[0].tolist()


def test_an_end_token_ends_a_text_and_is_kept(model: LlamaForCausalLM) -> None:
    """
    A text holds one end token at most, its last.
    """
    found = continuations(model, PROMPTS * 4, uniform=numbers(range(16), 30), end_tokens={0, 5})

    new = [text[len(prompt) :] for text, prompt in zip(found, PROMPTS * 4, strict=True)]
    assert any(text[-1] in {0, 5} for text in new)
    assert all(token not in {0, 5} for text in new for token in text[:-1])


def test_tokens_are_drawn_by_the_row() -> None:
    """
    Of many draws each token's share is its probability, and one without any is never drawn.
    """
    row = torch.tensor([0.0, 0.5, 0.125, 0.0, 0.375, 0.0])
    uniform = uniform_numbers(0, "test", 0, 20_000)

    counts = torch.bincount(drawn(row.expand(20_000, -1), uniform), minlength=6)

    assert counts[row == 0].tolist() == [0, 0, 0]
    assert chisquare(counts[row > 0], 20_000 * row[row > 0]).pvalue > 1e-3
    assert drawn(row, torch.tensor(1 - 2**-53, dtype=torch.float64)).item() == 4


def test_a_seed_purpose_or_prompt_of_its_own_is_a_stream_of_its_own() -> None:
    """
    The numbers of two prompts, two purposes and two seeds differ, and come again.
    """
    streams = [("text", 0, 0), ("text", 1, 0), ("draw", 0, 0), ("text", 0, 1)]

    firsts = [uniform_numbers(seed, purpose, name, 4).tolist() for purpose, name, seed in streams]

    assert len({tuple(first) for first in firsts}) == 4
    assert uniform_numbers(0, "text", 0, 4).tolist() == firsts[0]


def test_end_tokens_are_those_that_end_decoding() -> None:
    """
    The generation config's list, before the config's single one.
    """
    small = new_model(layers=1, width=8, inner=16, heads=1, vocab=11, positions=64)
    small.generation_config = GenerationConfig(eos_token_id=[2, 7])

    assert end_tokens_of(small, None) == {2, 7}  # type: ignore[arg-type]
    small.generation_config = GenerationConfig()
    assert end_tokens_of(small, None) == {0}  # type: ignore[arg-type]
