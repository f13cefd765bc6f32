"""Depth changes, the function hardly."""

from __future__ import annotations

import torch
from transformers import LlamaForCausalLM

from heads.pico.distil import Student, distillation_loss
from heads.pico.fitting import Schedule, fit
from heads.pico.growth import doubled, new_model, selected


def small() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return new_model(layers=2, width=16, inner=32, heads=1, vocab=32, positions=32)


IDS = torch.arange(20)[None]


def test_doubling_keeps_the_function_nearly() -> None:
    """
    A doubled model is twice as deep and closer to the old one than a new one is.
    """
    model = small()
    torch.manual_seed(1)
    stranger = new_model(layers=4, width=16, inner=32, heads=1, vocab=32, positions=32)

    with torch.no_grad():
        before, after, other = (m(input_ids=IDS).logits for m in (model, doubled(model), stranger))

    assert doubled(model).config.num_hidden_layers == 4
    assert (after - before).abs().mean() < 0.2 * (other - before).abs().mean()


def test_selecting_takes_the_blocks_asked_for() -> None:
    """
    The second block of the model is the first of the selection, and embeddings come along.
    """
    model = small()

    part = selected(model, [1])

    assert torch.equal(part.model.layers[0].mlp.up_proj.weight, model.model.layers[1].mlp.up_proj.weight)
    assert torch.equal(part.model.embed_tokens.weight, model.model.embed_tokens.weight)


def test_distilling_brings_the_rows_together() -> None:
    """
    A second of distillation lowers the divergence of the rows, and the probe learns to tell what was thought.
    """
    teacher = small().eval()
    with torch.no_grad():
        teacher.model.embed_tokens.weight.mul_(40)
    torch.manual_seed(3)
    student = Student(new_model(layers=2, width=16, inner=32, heads=1, vocab=32, positions=32))
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 32, (4, 17), generator=generator)
    losses = [distillation_loss(student, teacher, foresight=weight) for weight in (0.0, 1.0)]

    def measured() -> tuple[float, float]:
        divergence, both = (loss(ids, 0.0).item() for loss in losses)
        return divergence, both - divergence

    before = measured()
    fit(student, lambda: ids, losses[1], Schedule(minutes=0.02, rate=1e-2), name="student")

    after = measured()
    assert after[0] < 0.8 * before[0]
    assert after[1] < 0.5 * before[1]


def test_the_rate_rises_stays_and_falls() -> None:
    """
    The schedule starts and ends low and is at its peak between.
    """
    schedule = Schedule(minutes=1, rate=1.0, fall=0.5)

    assert schedule.factor(0.0) == 0.0
    assert schedule.factor(0.3) == 1.0
    assert 0 < schedule.factor(1.0) < 0.05
