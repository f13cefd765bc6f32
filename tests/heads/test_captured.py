"""The captured engine: padding nobody sees, caches of fixed size, recordings that say what the steps say."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from heads import Cascade
from heads.engines.captured import CAPACITY_STEP, CapturedLevel
from heads.engines.choice import ONE_FOR_ALL
from heads.engines.eager import EagerLevel
from heads.engines.recorded_head import RecordedHead
from heads.engines.slots import slot_bytes
from registry.errors import GenerationError, IncompatibleError
from tests.heads.models import chain, random_head, tiny

TEXT = [5, 1, 8, 3, 44, 17, 60, 2, 9]


def level_of(family: str = "llama", **options: Any) -> CapturedLevel:
    level = CapturedLevel(tiny(family), name=family, **options)
    level.begin()
    return level


class Peeking(torch.nn.Module):
    """Looks at a number of each token, as a router of experts may; `how` says by which call."""

    def __init__(self, inner: torch.nn.Module, how: str) -> None:
        super().__init__()
        self.inner = inner
        self.how = how

    def forward(self, hidden: Tensor) -> Tensor:
        first = hidden[0, :, 0]
        seen = [one.item() for one in first] if self.how == "item" else getattr(first, self.how)()
        scales = [1 + abs(float(one)) for one in seen]
        out: Tensor = self.inner(hidden)
        return torch.stack([out[:, place] * scale for place, scale in enumerate(scales)], dim=1)


def peeking(how: str) -> PreTrainedModel:
    model = tiny()
    layer: Any = model.get_submodule("model.layers.0")
    layer.mlp = Peeking(layer.mlp, how).eval()
    return model


@pytest.mark.parametrize("family", ["llama", "gemma3", "mistral", "gpt2"])
def test_padding_is_never_seen(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Whatever token pads a query, the rows are the same bit for bit, those of later queries too.
    """
    shown = []
    for pad in (0, 60):
        monkeypatch.setattr("heads.engines.captured.PAD", pad)
        level = level_of(family, recorded=False)
        level.feed(TEXT[:3], 1)
        level.rollback(2)
        shown.append([level.feed(TEXT[2:7], 5).logits.clone(), level.feed(TEXT[7:8], 1).logits.clone()])

    assert all(torch.equal(one, other) for one, other in zip(*shown, strict=True))


@pytest.mark.parametrize("family", ["qwen3", "gemma2"])
def test_a_recording_says_what_the_step_says(family: str) -> None:
    """
    Rows and hidden states of recorded and unrecorded levels are equal bit for bit, where weights stay as they lie.
    """
    recorded, stepped = level_of(family, packed=False), level_of(family, recorded=False)

    for begin, end in ((0, 5), (5, 6), (6, 9)):
        one = recorded.feed(TEXT[begin:end], end - begin)
        other = stepped.feed(TEXT[begin:end], end - begin)
        assert torch.equal(one.logits, other.logits)
        assert torch.equal(one.hidden, other.hidden)
    assert recorded.refusal is None


def test_a_second_text_starts_clean() -> None:
    """
    After a text whose numbers were none, the next one's rows are those of the first.
    """
    level = level_of()
    first = level.feed(TEXT, 9).logits.clone()
    embedding: Any = level.model.get_input_embeddings()
    weight = embedding.weight.data
    kept = weight[7].clone()
    weight[7] = torch.nan
    level.begin()
    assert level.feed([7] * 12, 1).logits.isnan().all()
    weight[7] = kept

    level.begin()

    assert torch.equal(level.feed(TEXT, 9).logits, first)


def test_capacity_grows_in_steps() -> None:
    """
    What a text needs with its padding, rounded up: to a listed size, and past those to a multiple.
    """
    level = level_of()

    assert [level.capacity(positions) for positions in (1, 112, 113, 8176)] == [128, 128, 256, 8192]
    assert level.capacity(8177) == 3 * CAPACITY_STEP


def test_two_caches_are_kept() -> None:
    """
    A third size takes the place of the one used longest ago.
    """
    level = level_of()
    for positions in (4000, 100, 4000, 700):
        level.begin(positions)

    assert sorted(level._boards) == [768, 4096]


def test_a_larger_cache_is_used_again() -> None:
    """
    A text that fits into a cache that is there gets no other, unless that is far too large for it.
    """
    level = level_of()
    level.begin(400)
    level.forget()
    level.begin(400)
    level.begin(50)
    assert list(level._boards) == [512]
    level.begin(900)
    level.begin(50)

    assert 1024 in level._boards
    assert level._board is level._boards[512]


def test_a_cache_takes_the_bytes_it_said() -> None:
    """
    Keys and values of the cache's layers take what `bytes_for` announced, and nothing more once they are there.
    """
    for family in ("llama", "gemma3", "gpt2"):
        level = CapturedLevel(tiny(family), name=family)
        announced = level.bytes_for(200)
        level.begin(200)
        level.feed(TEXT, 1)
        held = [one for layer in level._boards[256].slots._layers for one in layer.held()]

        assert announced == slot_bytes(level.model, 256) == sum(one.nbytes for one in held)
        assert level.bytes_for(200) == 0


@pytest.mark.parametrize("how", ["item", "tolist", "numpy"])
def test_a_model_that_looks_at_its_numbers_is_not_recorded(how: str) -> None:
    """
    A recording would repeat the numbers it saw; the step is run as it is, and the level says why.
    """
    model = peeking(how)
    level = CapturedLevel(model, name="it")
    plain = EagerLevel(model, name="it")
    for each in (level, plain):
        each.begin()

    for begin, end in ((0, 2), (2, 4), (4, 9)):
        shown = level.feed(TEXT[begin:end], 1).logits
        assert torch.allclose(shown, plain.feed(TEXT[begin:end], 1).logits, atol=1e-4)

    assert level.refusal is not None
    assert level.refusal.startswith("RuntimeError: ")


def test_another_attention_is_refused_and_left_to_the_eager_engine() -> None:
    """
    Attention that takes no ready mask cannot be captured; where no engine is asked for the model runs eagerly.
    """
    model = tiny()
    model.config._attn_implementation = "flex_attention"

    with pytest.raises(IncompatibleError, match="runs eagerly") as caught:
        Cascade([model], engine="captured")
    model.config._attn_implementation = "sdpa"

    assert caught.value.field == "engine"
    assert Cascade([model]).engines == ("eager",)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=str)
def test_other_precisions_decode_as_eagerly(dtype: torch.dtype) -> None:
    """
    Masks and caches are of the model's own dtype.
    """
    models = chain("qwen2", 2)
    for model in models:
        torch.nn.Module.to(model, dtype)

    texts = {
        tuple(Cascade(models, engine=engine).generate(TEXT, max_new_tokens=12).token_ids)
        for engine in ("eager", "captured")
    }

    assert len(texts) == 1


def test_two_threads_decode_with_the_same_models() -> None:
    """
    Two cascades over the same models record and decode at once; torch's modules are left as they were.
    """
    models = chain("llama", 2)
    expected = Cascade(models, engine="eager").generate(TEXT, max_new_tokens=16, max_draft=2).token_ids
    called = torch.nn.Module.__call__
    cascades = [Cascade(models, [random_head()], engine="captured") for _ in range(2)]
    texts: list[list[int]] = []

    def decode(cascade: Cascade) -> None:
        texts.append(cascade.generate(TEXT, max_new_tokens=16, max_draft=2).token_ids)

    threads = [threading.Thread(target=decode, args=(cascade,)) for cascade in cascades]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert texts == [expected, expected]
    assert torch.nn.Module.__call__ is called
    assert all(level.refusal is None for cascade in cascades for level in cascade._levels)  # type: ignore[union-attr]


def test_a_recorded_head_says_what_the_head_says() -> None:
    """
    For every number of positions, those too many to record included, twice each.
    """
    head = random_head(seed=3)
    recorded = RecordedHead(head)

    for count in (1, 1, 2, 8, 2, 40):
        hidden = torch.randn(count, 16)
        assert torch.equal(recorded.acceptance(hidden), head.acceptance(hidden))
    assert recorded.refusal is None


def test_a_part_shares_caches_and_waits_its_turn() -> None:
    """
    A part runs over the levels of the whole, and not while the whole decodes.
    """
    cascade = Cascade(chain("llama", 3), engine="captured")
    part = cascade.part([0, 2])

    class Nosy:
        def put(self, _value: Tensor) -> None:
            part.generate(TEXT, max_new_tokens=2)

        def end(self) -> None:
            pass

    assert part._levels == [cascade._levels[0], cascade._levels[2]]
    with pytest.raises(GenerationError, match="called on an idle cascade"):
        cascade.generate(TEXT, max_new_tokens=4, max_draft=1, streamer=Nosy())
    assert (
        part.generate(TEXT, max_new_tokens=4).token_ids
        == cascade.generate(TEXT, max_new_tokens=4, max_draft=1).token_ids
    )


def test_a_warm_cascade_records_nothing_more() -> None:
    """
    As many graphs as announced are recorded ahead, and a text with a prompt of its own length adds none.
    """
    cascade = Cascade(chain("llama", 3), engine="captured")
    told: list[None] = []
    cascade.warm_up(100, max_draft=2, told=lambda: told.append(None))

    def recorded() -> int:
        boards = [board for level in cascade._levels for board in level._boards.values()]  # type: ignore[union-attr]
        return sum(len(board.graphs) for board in boards)

    assert recorded() == len(told) == cascade.graphs_for(2)
    cascade.generate(TEXT * 6, max_new_tokens=40, max_draft=2, schedule="fixed")

    assert recorded() == len(told)


def test_a_default_device_changes_nothing() -> None:
    """
    Caches lie beside their model, wherever torch is told to make other tensors; of a meta one nothing can be read.
    """
    models = chain("llama", 1)
    expected = Cascade(models).generate(TEXT, max_new_tokens=4).token_ids

    with torch.device("meta"):
        found = Cascade(models, engine="captured").generate(TEXT, max_new_tokens=4).token_ids

    assert found == expected


def test_drafts_of_any_length_are_warmed_up_for_at_once() -> None:
    """
    Of a draft that may be endless only the lengths that are recorded are gone through.
    """
    cascade = Cascade(chain("llama", 2), engine="captured")

    assert cascade.graphs_for(10**30) == cascade.graphs_for(100)


@pytest.fixture
def lengths(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[int]]:
    """Level -> how long, padding included, the queries are that it is fed."""
    found: dict[str, list[int]] = {}
    packed = CapturedLevel._packed

    def listening(level: CapturedLevel, token_ids: Sequence[int] | Tensor, length: int) -> Tensor:
        found.setdefault(level.name, []).append(length)
        return packed(level, token_ids, length)

    monkeypatch.setattr(CapturedLevel, "_packed", listening)
    return found


def test_in_bfloat16_a_target_is_always_asked_at_one_length(lengths: dict[str, list[int]]) -> None:
    """
    Decoding alone, and verifying one token or eight: by the same kernels, so that its rows, and with them the text,
    hang on the text before and on nothing else. A draft keeps to its own lengths.
    """
    models = [model.bfloat16() for model in chain("qwen3", 2, noise=0.1)]
    cascade = Cascade(models, names=["draft", "target"], engine="captured")
    prompt = TEXT * 4  # longer than any length; all of it but the last token is read at once
    texts = []

    for one, longest in ((cascade.part([1]), 1), *((cascade, longest) for longest in (1, 2, 5, 8))):
        lengths.clear()
        texts.append(one.generate(prompt, max_new_tokens=18, max_draft=longest).token_ids)
        first, *others = lengths["target"]
        assert (first, set(others)) == (len(prompt) - 1, {ONE_FOR_ALL[0]})

    assert texts == [texts[0]] * 5
    assert min(lengths["draft"]) == 1
