"""A copy of the embedded family with a catalog and a lock of its own, for faults to be planted in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from heads import AcceptancePredictionHead
from registry.recording import record_catalog, write_recording
from registry.shelf import Shelf

PICO = Path(__file__).parent.parent.parent / "heads" / "pico"
MODELS = ("pico-little", "pico-draft", "pico-target")
RUN = "exp-weight6-layer3"
LITTLE_DRAFT = f"pico-little--to--pico-draft/{RUN}"
DRAFT_TARGET = f"pico-draft--to--pico-target/{RUN}"
LITTLE_TARGET = f"pico-little--to--pico-target/{RUN}"
HEADS = (LITTLE_DRAFT, DRAFT_TARGET, LITTLE_TARGET)

Tensors = dict[str, Tensor]


class Ward:
    """The family under its own names, laid over the built-in catalog; what is changed before `shelf` is on record."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in (*MODELS, *HEADS):
            shutil.copytree(PICO / name, root / name)

    @property
    def catalog(self) -> Path:
        return self.root / "ward.yaml"

    def shelf(self) -> Shelf:
        """The family as it now is, recorded."""
        models = "".join(f"  {name}: {{path: ./{name}, hidden_size: 192}}\n" for name in MODELS)
        edges = [head.partition("/")[0].split("--to--") for head in HEADS]
        heads = "".join(
            f"  - {{source: {source}, target: {target}, run: {RUN}, from: ward}}\n"
            for source, target in edges
        )
        self.catalog.write_text(
            f"version: 1\nsources:\n  ward: {{path: .}}\nmodels:\n{models}heads:\n{heads}"
        )
        write_recording(record_catalog(self.catalog, local=True))
        return Shelf.open(self.catalog)

    def weights(self, name: str, change: Callable[[Tensors], Tensors]) -> None:
        """Change the weights of a model."""
        path = self.root / name / "model.safetensors"
        save_file(change(load_file(path)), path, metadata={"format": "pt"})

    def document(self, name: str, file: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Change a JSON file."""
        path = self.root / name / file
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    def exchange(self, one: str, other: str) -> None:
        """Exchange two folders."""
        aside = self.root / "aside"
        (self.root / one).rename(aside)
        (self.root / other).rename(self.root / one)
        aside.rename(self.root / other)

    def untrained_head(self, name: str, *, width: int = 192) -> None:
        """Put a head of that width, as it is before training, in the place of another."""
        torch.manual_seed(0)
        shutil.rmtree(self.root / name)
        AcceptancePredictionHead({"hidden_size": width, "num_layers": 3}).save_pretrained(self.root / name)

    def another_tokenizer(self, name: str) -> None:
        """The ids of a model's tokens exchanged, in its tokenizer and in its weights: a model of another family."""
        torch.manual_seed(0)
        order = torch.cat([torch.arange(8), torch.randperm(2048 - 8) + 8])  # special tokens stay

        def renumbered(content: dict[str, Any]) -> None:
            vocabulary = content["model"]["vocab"]
            content["model"]["vocab"] = {piece: int(order[at]) for piece, at in vocabulary.items()}

        def moved(weights: Tensors) -> Tensors:
            old = weights["model.embed_tokens.weight"]
            new = torch.empty_like(old)
            new[order] = old
            return weights | {"model.embed_tokens.weight": new}

        self.document(name, "tokenizer.json", renumbered)
        self.weights(name, moved)

    def padding_rows(self, name: str, count: int = 64) -> None:
        """Rows past the tokenizer, never trained and large."""
        torch.manual_seed(0)

        def grown(weights: Tensors) -> Tensors:
            old = weights["model.embed_tokens.weight"]
            rows = torch.randn(count, old.shape[1]) * 4 * old.float().std()
            return weights | {"model.embed_tokens.weight": torch.cat([old, rows.to(old.dtype)])}

        self.weights(name, grown)
        self.document(name, "config.json", lambda content: content.update(vocab_size=2048 + count))

    def corrupt(self, name: str) -> None:
        """Noise on every weight, as large as the weights."""
        torch.manual_seed(0)
        self.weights(
            name,
            lambda weights: {
                part: weight + (torch.randn(weight.shape) * weight.float().std()).to(weight.dtype)
                if weight.ndim == 2
                else weight
                for part, weight in weights.items()
            },
        )
