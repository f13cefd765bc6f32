"""A GenerationConfig, field by field, held against what transformers makes of it."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from heads import Cascade
from heads.adjusting import RepetitionPenalty
from heads.configured import DONE, NEUTRAL, SILENT, options_of
from heads.sampling import warp
from heads.settings import read_settings
from registry.errors import GenerationError
from tests.heads.models import VOCAB, chain, tiny

PROMPT = [3, 1, 4, 1, 5]
FIELDS = sorted(name for name in vars(GenerationConfig()) if not name.startswith("_"))
# a value of each silent field that is not what it is without; what needs other models or another call is left out
ACTING: dict[str, object] = {
    "use_cache": False,
    "max_cache_len": 64,
    "pad_token_id": 3,
    "bos_token_id": 3,
    "decoder_start_token_id": 3,
    "return_dict_in_generate": True,
    "remove_invalid_values": True,
    "renormalize_logits": True,
    "early_stopping": True,
    "length_penalty": 2.0,
    "num_assistant_tokens": 3,
    "num_assistant_tokens_schedule": "heuristic",
    "assistant_confidence_threshold": 0.9,
    "assistant_early_exit": 1,
    "assistant_lookbehind": 2,
    "target_lookbehind": 2,
    "max_matching_ngram_size": 2,
    "disable_compile": True,
    "prefill_chunk_size": 2,
    "low_memory": True,
}
# what makers publish beside their weights, as of Qwen3, Qwen2.5, Llama 2, Gemma 2 and Gemma 3
PUBLISHED: list[dict[str, Any]] = [
    {
        "do_sample": True,
        "eos_token_id": [45, 43],
        "pad_token_id": 43,
        "temperature": 0.6,
        "top_k": 20,
        "top_p": 0.95,
    },
    {
        "do_sample": True,
        "repetition_penalty": 1.05,
        "temperature": 0.7,
        "top_p": 0.8,
        "top_k": 20,
        "bos_token_id": 4,
    },
    {
        "do_sample": True,
        "max_length": 40,
        "temperature": 0.6,
        "top_p": 0.9,
        "eos_token_id": 2,
        "pad_token_id": 0,
    },
    {"_from_model_config": True, "cache_implementation": "hybrid", "bos_token_id": 2, "eos_token_id": 1},
    {
        "cache_implementation": "hybrid",
        "do_sample": True,
        "eos_token_id": [1, 106],
        "top_k": 64,
        "top_p": 0.95,
    },
]


@functools.cache
def alone() -> PreTrainedModel:
    return tiny()


def generated(model: PreTrainedModel, config: GenerationConfig) -> list[int]:
    """The new tokens that transformers' own generate gives."""
    ids = torch.tensor([PROMPT])
    generate: Any = model.generate
    found = generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)
    found = found if isinstance(found, Tensor) else found.sequences
    return list(found[0, len(PROMPT) :].tolist())


@pytest.mark.parametrize("name", sorted(set(FIELDS) - DONE - SILENT - {"transformers_version"}))
def test_a_field_is_done_or_silent_or_refused_by_name(name: str) -> None:
    """
    Whatever transformers has that is in no list, a field that is new included, is refused where it says anything.
    """
    config = GenerationConfig()
    setattr(config, name, "something")

    with pytest.raises(GenerationError, match=rf"generation_config\.{name} must be left out"):
        options_of(config, prompt_tokens=1)


def test_no_field_is_in_two_lists() -> None:
    """
    Each field has one treatment, and what is done here is a field of transformers.
    """
    assert len(DONE | SILENT | NEUTRAL.keys()) == len(DONE) + len(SILENT) + len(NEUTRAL)
    assert set(FIELDS) >= DONE


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ACTING)
def test_a_silent_field_does_not_change_what_transformers_writes(name: str) -> None:
    """
    What is passed over leaves the text of transformers' own generate alone.
    """
    assert name in SILENT
    plain = generated(alone(), GenerationConfig(max_new_tokens=8))

    assert generated(alone(), GenerationConfig(max_new_tokens=8, **{name: ACTING[name]})) == plain


@pytest.mark.parametrize(("name", "values"), [(name, NEUTRAL[name]) for name in sorted(NEUTRAL)])
def test_a_value_that_asks_for_nothing_is_taken(name: str, values: tuple[object, ...]) -> None:
    """
    A field is not refused where it says what it would say anyway.
    """
    for value in values:
        config = GenerationConfig()
        setattr(config, name, value)
        assert options_of(config, prompt_tokens=1) == {"temperature": 0.0}


@pytest.mark.parametrize("fields", PUBLISHED, ids=str)
def test_what_makers_publish_is_taken(fields: dict[str, Any]) -> None:
    """
    The config beside a model's weights may be handed over as it is.
    """
    config = GenerationConfig.from_dict(fields)

    out = Cascade(chain(count=2)).generate(PROMPT, max_new_tokens=4, generation_config=config)

    assert 1 <= out.new_tokens <= 4


def test_a_temperature_by_name_samples_within_the_bounds_of_the_config() -> None:
    """
    A config that only says top_k does say it of a temperature that is given beside it.
    """
    cascade = Cascade([alone()])

    found = cascade.generate(
        PROMPT, temperature=5.0, seed=3, max_new_tokens=12, generation_config=GenerationConfig(top_k=1)
    )

    assert found.token_ids == cascade.generate(PROMPT, max_new_tokens=12).token_ids


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"max_new_tokens": 3}, "generation_config must be a GenerationConfig"),
        (GenerationConfig(max_length="14"), "generation_config.max_length must be an integer"),
        (GenerationConfig(max_length=14.0), "generation_config.max_length must be an integer"),
        (
            GenerationConfig(max_length=5),
            "generation_config.max_length must be an integer above the 5 tokens",
        ),
        (GenerationConfig(max_new_tokens=2.5), "max_new_tokens must be an integer"),
        (GenerationConfig(stop_strings=5), "stop must be a string"),
        (GenerationConfig(eos_token_id=[1.5]), "eos_token_id must be"),
        (GenerationConfig(cache_implementation="quantized"), "cache_implementation"),
        (GenerationConfig(return_dict_in_generate=True, output_scores=True), "output_scores"),
        (GenerationConfig(do_sample="no"), "generation_config.do_sample must be True or False"),
        (GenerationConfig(suppress_tokens=np.array([1, 2])), "generation_config.suppress_tokens"),
        (GenerationConfig(guidance_scale=torch.tensor([1.0, 1.0])), "generation_config.guidance_scale"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_config_or_no_value_is_told(config: Any, named: str) -> None:
    """
    A dict, a number that is none, a cache that changes the text: the error names what it is about.
    """
    with pytest.raises(GenerationError, match=named):
        Cascade([alone()]).generate(PROMPT, generation_config=config)


def test_a_length_given_by_name_overrules_one_too_short_in_the_config() -> None:
    """
    As in transformers, max_new_tokens goes before max_length, whatever that is.
    """
    config = GenerationConfig(max_length=2)

    assert Cascade([alone()]).generate(PROMPT, max_new_tokens=3, generation_config=config).new_tokens == 3


def test_an_end_token_below_zero_in_a_models_own_config_is_none() -> None:
    """
    Some configs write -1 where nothing ends a text; nobody asked for it here, so nobody is told to mend it.
    """
    model = tiny()
    model.generation_config.eos_token_id = -1

    assert Cascade([model]).generate(PROMPT, max_new_tokens=6).finish_reason == "length"


def mostly(name: str, values: list[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The field at one of the values, or not at all."""
    return st.sampled_from([{}, *({name: value} for value in values)])


SAMPLED_FIELDS = st.tuples(
    mostly("temperature", [0.05, 0.3, 1.0, 1.7, 10.0]),
    mostly("top_k", [0, 1, 3, 20, 1000]),
    mostly("top_p", [1.0, 0.9, 0.5, 0.05, 1e-300]),
    mostly("min_p", [0.0, 0.05, 0.5, 1.0]),
    mostly("repetition_penalty", [0.5, 1.0, 1.2, 3.0]),
    mostly("renormalize_logits", [True]),
).map(lambda fields: {name: value for field in fields for name, value in field.items()})


@settings(max_examples=120)
@given(
    fields=SAMPLED_FIELDS,
    said=st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=9),
    seed=st.integers(0, 2**31),
    spread=st.sampled_from([0.1, 3.0, 30.0]),
    forbidden=st.sets(st.integers(1, VOCAB - 1), max_size=VOCAB - 1),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_rows_are_those_of_the_processors_of_transformers(
    fields: dict[str, Any], said: list[int], seed: int, spread: float, forbidden: set[int], dtype: torch.dtype
) -> None:
    """
    Whatever a config asks of sampling, a row is the law that transformers' own processors leave of the logits.
    """
    config = GenerationConfig(do_sample=True, **fields)
    logits = torch.randperm(VOCAB, generator=torch.Generator().manual_seed(seed)).to(dtype) * spread / VOCAB
    logits[sorted(forbidden)] = -torch.inf
    model: Any = alone()
    whole, _ = model._prepare_generation_config(config)
    processors = model._get_logits_processor(whole, input_ids_seq_length=len(said), device="cpu")
    law = processors(torch.tensor([said]), logits[None].float()).softmax(-1)

    options = options_of(config, prompt_tokens=len(said))
    options.pop("eos_token_id", None)
    asked = read_settings(edges=0, **options)
    adjusted = RepetitionPenalty(asked.repetition_penalty)(logits[None], said, len(said))
    # of equal logits at the edge of top_p transformers keeps whichever its sort leaves there
    finite = adjusted[adjusted.isfinite()]
    assume(len(finite.unique()) == len(finite))
    found = warp(
        adjusted,
        temperature=asked.temperature,
        top_k=asked.top_k,
        top_p=asked.top_p,
        min_p=asked.min_p,
    )

    assert torch.allclose(found, law, atol=2e-6)
