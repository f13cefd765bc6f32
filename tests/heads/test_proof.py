"""Models that an engine would run wrongly: found out before they decode."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from transformers import PreTrainedModel

from heads import Cascade
from heads.engines.captured import CapturedLevel
from heads.engines.eager import EagerLevel
from registry.errors import GenerationError, IncompatibleError, RollbackError
from tests.heads.models import tiny

SIZES: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.5,
}


def made(family: str, **options: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**SIZES, **options)
    model: PreTrainedModel = getattr(transformers, f"{family}ForCausalLM")(config)
    model.eval()
    return model


def test_a_model_that_counts_from_its_padding_on_is_refused() -> None:
    """
    Its positions begin at 2; told that they begin at 0, as transformers' generate does, it says something else.
    """
    with pytest.raises(IncompatibleError, match="counts them otherwise") as caught:
        EagerLevel(made("Roberta", is_decoder=True), name="it")

    assert caught.value.field == "positions"


def test_a_model_that_counts_what_its_cache_holds_is_not_captured() -> None:
    """
    A cache of fixed size counts nothing: the rows are right until something is fed after something else.
    """
    model = made("RoFormer", is_decoder=True)
    EagerLevel(model, name="it")

    with pytest.raises(IncompatibleError, match="the rows the model gives by itself"):
        CapturedLevel(model, name="it")


@pytest.mark.parametrize("family", ["RoFormer", "Electra"])
def test_a_model_that_looks_ahead_is_refused(family: str) -> None:
    """
    Of several tokens fed at once each would see the later ones, which are only proposed: another text, silently.
    """
    with pytest.raises(IncompatibleError, match=r"looks ahead.*is_decoder = True"):
        EagerLevel(made(family, is_decoder=False), name="it")


def test_a_table_that_ends_at_the_last_position_is_not_captured() -> None:
    """
    A cache of fixed size would reach past it; eagerly the model decodes to its last position, and is asked for no more.
    """
    config = transformers.MptConfig(vocab_size=61, d_model=16, n_heads=2, n_layers=1, max_seq_len=160)
    cascade = Cascade([transformers.MptForCausalLM(config).eval()])

    with pytest.raises(IncompatibleError, match=r"160 and room for no more.*use 'eager'"):
        CapturedLevel(cascade.models[0], name="it")
    assert cascade.generate([1] * 157, max_new_tokens=3, eos_token_id=[]).new_tokens == 3
    with pytest.raises(GenerationError, match="has 160 positions"):
        cascade.generate([1] * 157, max_new_tokens=4)


def test_a_model_of_few_positions_is_proved_within_them() -> None:
    """
    Past its last position it says nothing sensible, or nothing at all: that is no fault of the engine.
    """
    model: Any = tiny("gpt2")
    model.config.n_positions = 16
    model.transformer.wpe = torch.nn.Embedding(16, 16)
    model.eval()

    assert CapturedLevel(model, name="it").engine == "captured"


def test_a_window_that_the_code_ignores_is_not_captured() -> None:
    """
    The config says 3000 positions, far more than any proof reads; the model looks back to the first.
    """
    model = made("Moshi", num_key_value_heads=2, ffn_dim=32)
    EagerLevel(model, name="it")

    with pytest.raises(IncompatibleError, match="windows of attention"):
        CapturedLevel(model, name="it")


def test_a_model_that_expects_the_whole_text_again_is_refused() -> None:
    """
    CPM-Ant puts rows of its own before every text, and has nothing to say of the few tokens that are new.
    """
    torch.manual_seed(0)
    config = transformers.CpmAntConfig(
        vocab_size=61,
        hidden_size=16,
        num_attention_heads=2,
        dim_head=8,
        dim_ff=32,
        num_hidden_layers=2,
        prompt_length=4,
    )

    with pytest.raises(RollbackError, match="cpmant"):
        EagerLevel(transformers.CpmAntForCausalLM(config).eval(), name="it")


def test_a_model_that_needs_more_than_token_ids_is_told() -> None:
    """
    What its forward raised stands in the error, which does not speak of rolling back.
    """
    model = made("Llama")
    model.model.layers[1].self_attn.o_proj = torch.nn.Linear(8, 16).eval()  # a damaged model: the wrong width

    with pytest.raises(
        IncompatibleError, match="nothing but token ids, got LlamaForCausalLM, which raised"
    ) as caught:
        EagerLevel(model, name="it")

    assert caught.value.field == "forward"
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_device_without_memory_says_nothing_of_the_model() -> None:
    """
    What ran out is told as it is, not as a model that does not fit.
    """
    model = made("Llama")

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    model.register_forward_pre_hook(full)

    with pytest.raises(torch.OutOfMemoryError):
        EagerLevel(model, name="it")
