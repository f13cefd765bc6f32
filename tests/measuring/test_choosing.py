"""Which models are measured together."""

from __future__ import annotations

import pytest

from heads.measuring.choosing import exactly, models_to_measure
from registry.errors import IncompatibleError, NoChainError, UsageError
from registry.shelf import Shelf


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    """The built-in catalog."""
    return Shelf.open()


@pytest.mark.parametrize(
    ("names", "models", "heads"),
    [
        (("qwen3-14b",), ("qwen3-14b",), 0),
        (("qwen3-0.6b", "qwen3-14b"), ("qwen3-0.6b", "qwen3-1.7b", "qwen3-14b"), 2),
        (("llama-68m", "vicuna-13b-v1.5"), ("llama-68m", "vicuna-13b-v1.5"), 0),
        (("Qwen/Qwen3-0.6B", "qwen3-1.7b", "qwen3-32b"), ("qwen3-0.6b", "qwen3-1.7b", "qwen3-32b"), 0),
    ],
    ids=["one", "a chain", "no head between them", "exactly these"],
)
def test_names_choose(shelf: Shelf, names: tuple[str, ...], models: tuple[str, ...], heads: int) -> None:
    """
    One alone, two as the ends of a chain or by themselves, more as they are named.
    """
    found = models_to_measure(shelf, names)

    assert (found.models, len(found.heads)) == (models, heads)


def test_options_narrow_a_chain(shelf: Shelf) -> None:
    """
    As for `decode`; then a chain that is not there is not made up, and more than two names leave nothing to choose.
    """
    found = models_to_measure(shelf, ["pico-little", "pico-target"], length=2)

    assert found.models == ("pico-little", "pico-target")
    with pytest.raises(NoChainError):
        models_to_measure(shelf, ["llama-68m", "vicuna-13b-v1.5"], length=2)
    with pytest.raises(UsageError, match="two names"):
        models_to_measure(shelf, ["pico-little", "pico-draft", "pico-target"], run="r")


def test_models_that_cannot_be_a_chain_are_refused(shelf: Shelf) -> None:
    """
    Another tokenizer, the wrong order, and one model twice, each with its reason.
    """
    with pytest.raises(NoChainError):
        models_to_measure(shelf, ["qwen3-0.6b", "vicuna-13b-v1.5"])
    with pytest.raises(NoChainError):
        models_to_measure(shelf, ["qwen3-14b", "qwen3-0.6b"])
    with pytest.raises(IncompatibleError, match="expected one tokenizer for both models, got '") as caught:
        exactly(shelf, ["llama-68m", "qwen3-0.6b", "qwen3-14b"])
    assert str(caught.value).count("expected") == 1
    with pytest.raises(UsageError, match="smallest model first"):
        exactly(shelf, ["qwen3-14b", "qwen3-1.7b", "qwen3-32b"])
    with pytest.raises(UsageError, match="every model once"):
        exactly(shelf, ["qwen3-0.6b", "qwen3-1.7b", "qwen3-1.7b"])
