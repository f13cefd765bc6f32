"""Deeper models from shallow ones, and shallow ones from deep."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from transformers import LlamaConfig, LlamaForCausalLM


def new_model(
    *, layers: int, width: int, inner: int, heads: int, vocab: int, positions: int
) -> LlamaForCausalLM:
    """A randomly initialised causal LM in float32."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab,
            hidden_size=width,
            intermediate_size=inner,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            max_position_embeddings=positions,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=0,
            pad_token_id=0,
        )
    )


@torch.no_grad()
def doubled(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """Twice as deep and nearly the same function: each block twice in a row, with half its output."""
    deep = _with_layers(model, [i // 2 for i in range(2 * model.config.num_hidden_layers)])
    for layer in deep.model.layers:
        layer.self_attn.o_proj.weight.mul_(0.5)
        layer.mlp.down_proj.weight.mul_(0.5)
    return deep


def selected(model: LlamaForCausalLM, layers: Sequence[int]) -> LlamaForCausalLM:
    """The model with only these of its blocks, embeddings and final norm included: a start for distilling."""
    return _with_layers(model, layers)


@torch.no_grad()
def _with_layers(model: LlamaForCausalLM, layers: Sequence[int]) -> LlamaForCausalLM:
    config = copy.deepcopy(model.config)
    config.num_hidden_layers = len(layers)
    other = LlamaForCausalLM(config)
    other.model.embed_tokens.load_state_dict(model.model.embed_tokens.state_dict())
    other.model.norm.load_state_dict(model.model.norm.state_dict())
    for mine, theirs in zip(other.model.layers, layers, strict=True):
        mine.load_state_dict(model.model.layers[theirs].state_dict())
    return other
