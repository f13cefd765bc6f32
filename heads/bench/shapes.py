"""Real models by their published shapes, with random numbers for weights: what they cost, not what they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, Qwen3Config


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A Qwen3 model's published sizes."""

    hidden: int
    layers: int
    heads: int
    key_value_heads: int
    inner: int
    tied: bool
    vocab: int = 151936
    head_size: int = 128

    def config(self) -> Qwen3Config:
        """As transformers has it."""
        return Qwen3Config(
            vocab_size=self.vocab,
            hidden_size=self.hidden,
            intermediate_size=self.inner,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.key_value_heads,
            head_dim=self.head_size,
            max_position_embeddings=40960,
            tie_word_embeddings=self.tied,
        )


SHAPES: Final = {
    "qwen3-0.6b": Shape(hidden=1024, layers=28, heads=16, key_value_heads=8, inner=3072, tied=True),
    "qwen3-1.7b": Shape(hidden=2048, layers=28, heads=16, key_value_heads=8, inner=6144, tied=True),
    "qwen3-14b": Shape(hidden=5120, layers=40, heads=40, key_value_heads=8, inner=17408, tied=False),
    "qwen3-32b": Shape(hidden=5120, layers=64, heads=64, key_value_heads=8, inner=25600, tied=False),
    "tiny": Shape(
        hidden=64, layers=2, heads=4, key_value_heads=2, inner=128, tied=True, vocab=256, head_size=16
    ),
}


def random_model(shape: Shape, *, device: torch.device, dtype: torch.dtype, seed: int = 0) -> PreTrainedModel:
    """A model of that shape, made where it will run."""
    torch.manual_seed(seed)
    with device:
        model: PreTrainedModel = AutoModelForCausalLM.from_config(shape.config(), dtype=dtype)
    model.eval()
    return model


def read_bytes(model: PreTrainedModel) -> int:
    """Bytes of weights that one forward has to read: all but an input embedding that is nothing else."""
    whole = sum(int(parameter.nbytes) for parameter in model.parameters())
    embedding: Tensor = model.get_input_embeddings().weight  # type: ignore[assignment]
    output = model.get_output_embeddings()
    apart = output is not None and output.weight is not embedding
    return whole - int(embedding.nbytes) if apart else whole
