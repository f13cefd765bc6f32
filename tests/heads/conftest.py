"""Tiny models and a tokenizer of bytes: real parts, made on the spot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import settings
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from torch.fx import GraphModule
from transformers import PreTrainedTokenizerFast

settings.register_profile("heads", deadline=None, derandomize=True)
settings.load_profile("heads")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> list[GraphModule]:
    """What is fused is told apart from the rest of a graph and counted here, but not compiled, which takes long."""
    made: list[GraphModule] = []

    def keep(module: GraphModule, **_options: Any) -> GraphModule:
        made.append(module)
        return module

    monkeypatch.setattr("heads.engines.fusion.torch.compile", keep)
    return made


@pytest.fixture(scope="session")
def byte_tokenizer() -> PreTrainedTokenizerFast:
    """256 bytes, one token each, then <begin> (256) and <end> (257)."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(BPE(vocab={byte: index for index, byte in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<begin>", eos_token="<end>")  # noqa: S106
