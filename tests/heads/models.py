"""Tiny random models of many families, and noisy copies that agree with them now and then."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

from heads import AcceptancePredictionHead

VOCAB = 61
SIZES: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
    "initializer_range": 0.5,
}
GPT2_SIZES: dict[str, Any] = {
    "vocab_size": VOCAB,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 128,
    "bos_token_id": None,
    "eos_token_id": None,
    "initializer_range": 0.5,
}
WINDOW = {"sliding_window": 5}
GEMMA3 = {**WINDOW, "layer_types": ["sliding_attention", "full_attention"], "query_pre_attn_scalar": 8}


def _maker(family: str, **options: Any) -> Callable[[], PreTrainedModel]:
    model = "GPT2LMHeadModel" if family == "GPT2" else f"{family.removesuffix('Text')}ForCausalLM"

    def make() -> PreTrainedModel:
        sizes = dict(GPT2_SIZES if family == "GPT2" else SIZES)
        if family in {"GPTNeoX", "Phi", "OPT", "Bloom", "Cohere"}:
            sizes.pop("head_dim")
        config = getattr(transformers, f"{family}Config")(**{**sizes, **options})
        made: PreTrainedModel = getattr(transformers, model)(config)
        return made

    return make


FAMILIES: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": _maker("Llama"),
    "qwen2": _maker("Qwen2"),
    "qwen3": _maker("Qwen3"),
    "gpt_neox": _maker("GPTNeoX"),
    "gpt2": _maker("GPT2"),
    "gemma": _maker("Gemma"),
    "gemma2": _maker("Gemma2", final_logit_softcapping=8.0, query_pre_attn_scalar=8, **WINDOW),
    "gemma3": _maker("Gemma3Text", **GEMMA3),
    "mistral": _maker("Mistral", **WINDOW),
    "cohere": _maker("Cohere", logit_scale=0.5),
    "opt": _maker("OPT", ffn_dim=32, word_embed_proj_dim=16),
    "granite": _maker("Granite", logits_scaling=3.0),
    "mamba": _maker("Mamba"),
    "rwkv": _maker("Rwkv", attention_hidden_size=16),
    "recurrent_gemma": _maker("RecurrentGemma", attention_window_size=8, lru_width=16),
}


def tiny(family: str = "llama", *, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """A random model in float32; `changes` go to its config."""
    torch.manual_seed(seed)
    made = _maker("Llama", **changes)() if changes else FAMILIES[family]()
    made.eval()
    return made


def noisy(model: PreTrainedModel, *, noise: float = 0.03, seed: int = 1) -> PreTrainedModel:
    """A copy with every parameter off by `noise` of its own spread."""
    generator = torch.Generator().manual_seed(seed)
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in copied.parameters():
            spread = parameter.std(correction=0)
            parameter.add_(torch.randn(parameter.shape, generator=generator) * noise * spread)
    return copied


def chain(
    family: str = "llama", count: int = 3, *, noise: float = 0.03, seed: int = 0
) -> list[PreTrainedModel]:
    """`count` models, smallest first in the cascade's sense: each a noisy copy of the one above it."""
    models = [tiny(family, seed=seed)]
    for index in range(count - 1):
        models.append(noisy(models[-1], noise=noise, seed=index + 1))
    return models[::-1]


def random_head(hidden_size: int = 16, *, seed: int = 0, num_layers: int = 2) -> AcceptancePredictionHead:
    """A head that says something, if nothing sensible."""
    torch.manual_seed(seed)
    return AcceptancePredictionHead({"hidden_size": hidden_size, "num_layers": num_layers}).eval()
