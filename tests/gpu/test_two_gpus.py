"""What takes two GPUs to show: a target that transformers spreads over them, and a training beside the first one."""

from __future__ import annotations

import pytest
import torch

import registry
from heads.training.features import Positions
from heads.training.learning import HeadTraining, train_head
from tests.training.made import examples_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.usefixtures("ieee_float32"),
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices"),
]
PROMPT = "def read(path):\n"
WIDTH = 64


def test_device_map_auto_spreads_the_target_and_its_drafts_lie_beside_its_first_layers() -> None:
    """
    All of it lies on GPUs, the target on both, and the text is that of one GPU.
    """
    pipeline = registry.resolve_pipeline("pico-little", "pico-target")
    spread = pipeline.load(device_map="auto", dtype="float32")
    whole = pipeline.load(device="cuda:0", dtype="float32", engine="eager")

    target = spread.models[-1]
    begins = target.get_input_embeddings().weight.device
    assert {weight.device.index for weight in target.parameters()} == {0, 1}
    assert {model.device for model in spread.models[:-1]} == {begins}
    assert {head.output.weight.device for head in spread.heads if head is not None} == {begins}
    assert spread.engines == ("captured", "captured", "eager")
    said, alone = (one.generate(PROMPT, max_new_tokens=24).token_ids for one in (spread, whole))
    assert said == alone


def test_a_head_is_trained_on_the_gpu_that_was_asked_for() -> None:
    """
    The first one lends no memory to it, and the current one is afterwards what it was.
    """
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(512, WIDTH, generator=generator)
    shares = torch.rand(512, generator=generator)
    train = Positions.of(examples_of(hidden, shares))
    torch.cuda.set_device(0)
    for index in (0, 1):
        torch.cuda.reset_peak_memory_stats(index)
    before = torch.cuda.memory_allocated(0)

    trained = train_head(train, None, training=HeadTraining(num_layers=1, epochs=1.0), device="cuda:1")

    assert torch.cuda.max_memory_allocated(0) == before
    assert torch.cuda.max_memory_allocated(1) > 0
    assert torch.cuda.current_device() == 0
    assert {weight.device.type for weight in trained.head.parameters()} == {"cpu"}
