"""The acceptance prediction head: from a model's last hidden state to 'will my target accept this token?'."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor, nn

from registry.errors import ShapeError, UsageError
from registry.files.layout import CLASSES, MAX_HIDDEN_SIZE, MAX_LAYERS
from registry.records import Calibration

StoredForm = Literal["separate", "shared", "pickled"]
ACCEPTED = 1  # the class 'the target accepts'; 0 is 'it does not'


class ResBlock(nn.Module):
    """x + SiLU(Linear(x)), (..., size) -> (..., size)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size, size)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """(..., size) -> (..., size)."""
        mixed: Tensor = self.act(self.linear(x))
        return x + mixed


class AcceptancePredictionHead(nn.Module):
    """A small residual MLP on the source model's last hidden state.

    Args:
        config: `hidden_size` is that of the *source* model, `num_layers` the number of residual blocks.
            Other keys are not read.
        shared: One block, applied `num_layers` times, as the original code does; separate blocks otherwise.

    Attributes:
        stored_form: How it was stored, when it was loaded: 'separate', 'shared' or 'pickled'.
        calibration: Scale and bias on its logit, fitted on held-out prompts; None where there are none.

    Raises:
        UsageError: a size is missing, no integer or out of bounds.

    >>> head = AcceptancePredictionHead({"hidden_size": 8, "num_layers": 2})
    >>> tuple(head(torch.zeros(3, 8)).shape)
    (3, 2)

    Source: Huang et al., SpecDec++, arXiv:2405.19715, section 4.
    """

    def __init__(self, config: Mapping[str, object], *, shared: bool = False) -> None:
        super().__init__()
        self.hidden_size = _size(config, "hidden_size", 1, MAX_HIDDEN_SIZE)
        self.num_layers = _size(config, "num_layers", 0, MAX_LAYERS)
        self.shared = shared and self.num_layers > 1
        self.stored_form: StoredForm = "shared" if self.shared else "separate"
        self.calibration: Calibration | None = None
        if self.shared:
            blocks = [ResBlock(self.hidden_size)] * self.num_layers
        else:
            blocks = [ResBlock(self.hidden_size) for _ in range(self.num_layers)]
        self.model = nn.Sequential(*blocks, nn.Linear(self.hidden_size, CLASSES))

    @property
    def config(self) -> dict[str, int]:
        """What config.json holds."""
        return {"hidden_size": self.hidden_size, "num_layers": self.num_layers}

    @property
    def output(self) -> nn.Linear:
        """The last layer, hidden_size -> 2."""
        layer = self.model[self.num_layers]
        if not isinstance(layer, nn.Linear):
            raise TypeError(f"the last layer of a head is linear, got {type(layer).__name__}")
        return layer

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits of (rejected, accepted), (..., 2), from hidden states (..., hidden_size) of its own dtype.

        Raises:
            ShapeError: the hidden states are not `hidden_size` wide.
        """
        if hidden.shape[-1] != self.hidden_size:
            raise ShapeError(
                f"hidden states must be {self.hidden_size} wide for this head, got {hidden.shape[-1]}.",
                expected=self.hidden_size,
                found=hidden.shape[-1],
            )
        logits: Tensor = self.model(hidden)
        return logits

    def acceptance(self, hidden: Tensor) -> Tensor:
        """Estimated probability that the target accepts the token at each hidden state.

        Args:
            hidden: (..., hidden_size), of any floating dtype, on any device: moved to the head's own.

        Returns:
            (...), float32, each in [0, 1]: sigmoid(scale * logit + bias) where the head has a calibration,
            `raw_acceptance` where it has none.
        """
        if self.calibration is None:
            return self.raw_acceptance(hidden)
        return torch.sigmoid(self.calibration.scale * self.logit(hidden) + self.calibration.bias)

    def raw_acceptance(self, hidden: Tensor) -> Tensor:
        """The estimate as the published rule uses it: weighted as the head was trained, whatever its calibration.

        Takes and gives what `acceptance` does.
        """
        return torch.softmax(self._logits(hidden), dim=-1)[..., ACCEPTED]

    def logit(self, hidden: Tensor) -> Tensor:
        """log P(accepted) - log P(rejected), raw: (..., hidden_size) -> (...), float32."""
        logits = self._logits(hidden)
        return logits[..., ACCEPTED] - logits[..., 1 - ACCEPTED]

    def _logits(self, hidden: Tensor) -> Tensor:
        weight = self.output.weight
        logits: Tensor = self(hidden.to(device=weight.device, dtype=weight.dtype)).float()
        return logits

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Load a head from its folder: config.json and model.safetensors, or an old pytorch_model.bin.

        A calibration.json beside them is read too, and `acceptance` then gives calibrated numbers.

        A folder of the Hub's cache is held against the record that a catalog's lock or a download left of it, and
        refused where its bytes differ. A folder of your own, or one without a record, is read as it is: nothing
        says what its bytes should be. `Pipeline.load` loads nothing without a record.

        Raises:
            NotInstalledError: no such folder here; a Hub id is answered by the command that fetches it.
            CheckpointError: the files are not those of an acceptance head, every problem listed; or not as recorded.
            CatalogError: the folder is in the Hub's cache, and the catalog that may know it cannot be read.
        """
        from heads.checkpoint import load_folder  # noqa: PLC0415 - that room builds heads, so it imports this one

        return load_folder(folder, kind=cls)

    def save_pretrained(self, folder: str | Path) -> None:
        """Store it as published: config.json and model.safetensors, each written whole or not at all.

        A calibration goes into calibration.json beside them.
        """
        from heads.checkpoint import save_folder  # noqa: PLC0415 - as above

        save_folder(self, folder)


def _size(config: Mapping[str, object], name: str, least: int, most: int) -> int:
    value = config.get(name)
    if type(value) is not int or not least <= value <= most:
        raise UsageError(f"{name} of a head must be an integer from {least} to {most}, got {value!r}.")
    return value
