"""A cache of keys and values whose size is fixed: a position has its slot, and what is stale is masked."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, StaticLayer

from heads.anatomy import attention_windows
from heads.engines.forward import Mask

FULL, SLIDING = "full_attention", "sliding_attention"  # what transformers calls the two kinds of layers
WINDOW_MASK = "create_sliding_window_causal_mask"


class SlotLayer(StaticLayer):
    """One layer's keys and values, written where `slots` says.

    transformers' static layer counts for itself what it holds, in a tensor of each layer; here the level counts,
    once, on the host, and rolling back costs nothing.
    """

    slots: Tensor

    def update(
        self,
        key_states: Tensor,
        value_states: Tensor,
        *_args: Any,
        **_kwargs: Any,
    ) -> tuple[Tensor, Tensor]:
        """Write (1, heads, n, size) states into n slots; all keys and values, (1, heads, capacity, size)."""
        if not self.is_initialized:
            with torch.inference_mode(
                mode=False
            ):  # an inference tensor could not be written to while recording
                self.lazy_initialization(key_states, value_states)
        keys, values = self.held()
        keys.index_copy_(2, self.slots, key_states)
        values.index_copy_(2, self.slots, value_states)
        return keys, values

    def held(self) -> tuple[Tensor, Tensor]:
        """All keys and values, once there are any."""
        if self.keys is None or self.values is None:
            raise RuntimeError("nothing was written yet")
        return self.keys, self.values


class Slots:
    """The cache of a model for texts of up to `capacity` positions.

    Args:
        model: Every layer of its cache keeps keys and values.
        capacity: Positions, those that padding takes included.

    Raises:
        TypeError: a layer keeps something else.
    """

    def __init__(self, model: PreTrainedModel, capacity: int) -> None:
        self.capacity = capacity
        self._windows = attention_windows(model)
        with torch.device(
            "cpu"
        ):  # transformers' layer counts in a tensor, and would have it wherever others are made
            self._layers = [SlotLayer(capacity) for _ in self._windows]
        self._dtype = model.dtype
        self.cache = Cache(layers=list(self._layers))

    def at(self, slots: Tensor) -> Mask:
        """Point every layer at the slots (n,) that are written next; the mask that shows each of them its past.

        (1, 1, n, capacity), or one for each kind of layer where a model has both.
        """
        for layer in self._layers:
            layer.slots = slots
        places = torch.arange(self.capacity, device=slots.device)
        past = places <= slots[:, None]
        masks: dict[str, Tensor] = {}
        for window in dict.fromkeys(self._windows):
            seen = past if window is None else past & (places > slots[:, None] - window)
            masks[FULL if window is None else SLIDING] = self._added(seen)[None, None]
        return masks if len(masks) > 1 else next(iter(masks.values()))

    def clear(self) -> None:
        """Forget what is in it: a number that is no number, once written, would outlive its mask."""
        for layer in self._layers:
            for held in layer.held() if layer.is_initialized else ():
                held.zero_()

    def take_over(self, smaller: Slots) -> None:
        """Hold what a smaller cache of the same model holds; graphs go on finding it where it is."""
        self.clear()
        for mine, theirs in zip(self._layers, smaller._layers, strict=True):
            if theirs.is_initialized:
                if not mine.is_initialized:
                    with torch.inference_mode(mode=False):
                        mine.lazy_initialization(*theirs.held())
                for larger, held in zip(mine.held(), theirs.held(), strict=True):
                    larger[:, :, : smaller.capacity] = held

    def _added(self, seen: Tensor) -> Tensor:
        """What attention adds to its scores: given as truth values each layer would make this anew."""
        zeros = torch.zeros(seen.shape, dtype=self._dtype, device=seen.device)
        return zeros.masked_fill(~seen, -torch.inf)


def makes_windows(model: PreTrainedModel) -> bool:
    """Whether the model masks what its config declares out of reach; some declare windows that their code ignores.

    The code of a family that has windows makes their mask by one function of transformers.
    """
    if not any(attention_windows(model)):
        return True
    files = {type(module).__module__ for module in model.modules()}
    return any(hasattr(sys.modules.get(file), WINDOW_MASK) for file in files)


def slot_bytes(model: PreTrainedModel, capacity: int) -> int:
    """What the keys and values of so many positions take, in bytes."""
    config = model.config.get_text_config(decoder=True)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * len(attention_windows(model)) * capacity * int(heads) * int(size) * model.dtype.itemsize
