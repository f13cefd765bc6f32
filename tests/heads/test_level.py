"""One model and its cache."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedModel

from heads.anatomy import max_positions, output_rows, rope_switch
from heads.engines.eager import EagerLevel
from registry.errors import IncompatibleError, RollbackError
from tests.heads.models import tiny


def level_of(family: str = "llama") -> EagerLevel:
    level = EagerLevel(tiny(family), name=family)
    level.begin()
    return level


@pytest.mark.parametrize("family", ["llama", "gemma2", "granite", "cohere", "opt"])
def test_rows_and_hidden_states_are_the_models_own(family: str) -> None:
    """
    Logits after all a family does to them, and the last hidden state after the final norm.
    """
    level = level_of(family)
    tokens = [5, 1, 8, 3]
    with torch.inference_mode():
        whole = level.model(input_ids=torch.tensor([tokens]), output_hidden_states=True)

    fed = level.feed(tokens, 2)

    assert torch.allclose(fed.logits, whole.logits[0, -2:], atol=1e-5)
    assert torch.allclose(fed.hidden, whole.hidden_states[-1][0, -2:], atol=1e-5)


def test_counters_follow_feed_and_rollback() -> None:
    """
    Length counts positions held, forwards the calls; rolling back to where nothing is does nothing.
    """
    level = level_of()
    assert (level.length, level.forwards) == (0, 0)

    level.feed([1, 2, 3], 1)
    level.rollback(5)
    assert (level.length, level.forwards) == (3, 1)
    level.rollback(1)
    level.feed([4], 1)

    assert (level.length, level.forwards) == (2, 2)


def test_all_may_be_taken_back() -> None:
    """
    Rolled back to nothing, a level reads the text as if new.
    """
    level = level_of("gemma2")
    first = level.feed([4, 5, 6], 3).logits
    level.rollback(0)

    assert torch.equal(level.feed([4, 5, 6], 3).logits, first)


def test_a_level_leaves_the_model_as_it_found_it() -> None:
    """
    No hook stays behind, not even after a forward that failed.
    """
    level = level_of()
    level.feed([1], 1)
    with pytest.raises(IndexError):
        level.feed([10_000], 1)

    assert not level.model.base_model._forward_hooks


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", ["mamba", "rwkv", "recurrent_gemma"])
def test_a_running_state_is_refused(family: str) -> None:
    """
    What cannot be taken back token by token is refused by name, before any decoding.
    """
    with pytest.raises(RollbackError, match=family):
        EagerLevel(tiny(family), name="it")


def test_a_cache_that_ignores_rollback_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A model whose rows after a rollback are not those of before is refused, whatever its config says.
    """
    monkeypatch.setattr("heads.engines.eager.DynamicCache.crop", lambda _cache, _count: None)

    with pytest.raises(RollbackError):
        EagerLevel(tiny(), name="it")


def test_training_mode_is_refused() -> None:
    """
    Dropout would make rows random; the message says what to call.
    """
    with pytest.raises(IncompatibleError, match=r"model\.eval\(\)") as caught:
        EagerLevel(tiny().train(), name="it")

    assert (caught.value.field, caught.value.expected, caught.value.found) == ("mode", "eval", "train")


@pytest.mark.parametrize(("family", "bound"), [("llama", 128), ("gpt2", 128)])
def test_sizes_are_read_from_the_config(family: str, bound: int) -> None:
    """
    Whatever the family calls them.
    """
    model = tiny(family)

    assert (max_positions(model), output_rows(model), rope_switch(model)) == (bound, 61, None)


def test_a_position_switch_is_seen() -> None:
    """
    longrope changes what positions mean at the length it was first trained on.
    """
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10_000.0,
        "short_factor": [1.0] * 4,
        "long_factor": [4.0] * 4,
        "factor": 4.0,
        "original_max_position_embeddings": 32,
    }
    model: PreTrainedModel = tiny(rope_parameters=rope)

    assert rope_switch(model) == 32
