"""Make the embedded family: `python -m heads.pico.make --work FOLDER`, or one like it of another size.

Six steps, each leaving its result in the work folder and skipped where that result stands: corpus, target,
draft, little, heads, family. The last stores all of it beside this file, or under `--out`;
`specreg lock catalog.yaml --local` then records the digests. `--size large --device cuda --out FOLDER` makes a
family of 310 million parameters on a GPU, with a catalog of its own in that folder, to be locked likewise.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from heads.head import AcceptancePredictionHead
from heads.pico.cataloguing import write_catalog
from heads.pico.corpus import PACKAGES_MB, read_corpus
from heads.pico.distil import Student, distillation_loss, language_loss
from heads.pico.fitting import Schedule, fit
from heads.pico.growth import doubled, new_model, selected
from heads.pico.judge import agreement, distinct_ngrams, nats_per_token
from heads.pico.recipe import RUN, SIZES, Recipe
from heads.pico.tokens import VOCAB_SIZE, Ids, Windows, encode, held_out_windows, train_tokenizer
from heads.runtime import device_named
from heads.training.examples import Examples
from heads.training.features import Positions
from heads.training.labels import acceptance_examples
from heads.training.learning import HeadTraining, train_head
from heads.training.quality import head_quality
from heads.training.recalibrating import recalibrate
from heads.training.storing import store_head
from heads.training.texts import continuations
from registry.records import Calibration

EVALUATION = "evaluation.json"
FIRST_LABELLED = 16


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two models of the family, loaded."""

    source: LlamaForCausalLM
    target: LlamaForCausalLM
    tokenizer: PreTrainedTokenizerFast
    device: torch.device


class Family:
    """The steps, and the folder where each leaves its result.

    Raises:
        UsageError: no such device here, told before the first step.
    """

    def __init__(self, work: Path, recipe: Recipe, *, device: str = "cpu") -> None:
        self.work = work
        self.recipe = recipe
        self.device = device_named(device)
        work.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)

    def make(self, out: Path) -> None:
        """All steps in order."""
        self.corpus()
        for name, step in zip(self.recipe.models, (self.target, self.draft, self.little), strict=True):
            if not (self.work / name / "config.json").exists():
                _say(f"{name}: training")
                model = step()
                self._store(model, name)
        for source, target in self.recipe.edges:
            self.head(source, target)
        self.family(out)

    def corpus(self) -> None:
        """Tokenizer, and the ids of all three parts of the corpus."""
        if (self.work / "ids.npz").exists():
            return
        corpus = read_corpus()
        tokenizer = train_tokenizer(corpus.library, self.work / "tokenizer")
        (self.work / "corpus.json").write_text(json.dumps(corpus.describe() | _origin(), indent=2))
        parts = {name: encode(getattr(corpus, name), tokenizer) for name in ("library", "others", "held_out")}
        np.savez(self.work / "ids.npz", **parts)  # type: ignore[arg-type]

    def target(self) -> LlamaForCausalLM:
        """Trained on text, shallow first and doubled twice."""
        recipe = self.recipe
        model = self._placed(
            new_model(
                layers=recipe.stages[0].layers,
                width=recipe.width,
                inner=recipe.inner,
                heads=recipe.attention_heads,
                vocab=VOCAB_SIZE,
                positions=recipe.positions,
            )
        )
        windows = self._windows(1)
        for stage in recipe.stages:
            while model.config.num_hidden_layers < stage.layers:
                model = self._placed(doubled(model))
            batch = partial(windows.batch, stage.schedule.batch, library_share=stage.library_share)
            fit(model, batch, language_loss(model), stage.schedule, name=f"{stage.layers} layers")
        return model

    def draft(self) -> LlamaForCausalLM:
        """A few of the target's layers, distilled from its rows."""
        return self._distilled(self.recipe.models[0], self.recipe.draft_layers, self.recipe.draft, seed=2)

    def little(self) -> LlamaForCausalLM:
        """The first and the last of the draft's layers, distilled from the draft's rows."""
        return self._distilled(self.recipe.models[1], self.recipe.little_layers, self.recipe.little, seed=3)

    def head(self, source: str, target: str) -> None:
        """One head, trained on library and other text, judged on held-out text."""
        folder = self.work / f"{source}--to--{target}" / RUN
        if (folder / EVALUATION).exists():
            return
        recipe = self.recipe
        lesson = recipe.lesson(source, target)
        _say(f"{source} -> {target}: labels")
        windows = self._windows(4, length=recipe.label_length - 1)
        text = windows.batch(lesson.windows, library_share=0.5)
        train = Positions.of(self._examples(source, target, text, seed=4))
        held_out = Positions.of(
            self._examples(source, target, self._held_out(recipe.label_length - 1), seed=5)
        )
        _say(f"{source} -> {target}: training on {len(train)} positions")
        training = HeadTraining(epochs=lesson.epochs, learning_rate=recipe.head_rate)
        weight = training.mismatch_weight
        trained = train_head(train, held_out, training=training, device=str(self.device))
        quality = head_quality(trained.head, held_out, mismatch_weight=weight)
        trained.head.calibration = self._calibration(trained.head, source, target, weight)
        store_head(trained.head, folder, trainer_state=trained.trainer_state)
        _write_json(
            folder / EVALUATION, quality | {"on": "held-out files of the standard library, temperature 1"}
        )
        _say(f"{source} -> {target}: {quality}")

    def _calibration(
        self, head: AcceptancePredictionHead, source: str, target: str, mismatch_weight: float
    ) -> Calibration:
        """By what the target says after held-out text, as `specreg calibrate` does it."""
        models = Pair(
            source=self._load(source),
            target=self._load(target),
            tokenizer=self._tokenizer(),
            device=self.device,
        )
        found = recalibrate(
            models,
            head,
            self._prompts(seed=7),
            mismatch_weight=mismatch_weight,
            max_new_tokens=self.recipe.new_tokens,
            seed=self.recipe.seed,
            batch_size=32,
            bar=lambda total, what: nullcontext(lambda done: None),  # noqa: ARG005
        )
        head.cpu()
        return found.calibration

    def family(self, out: Path) -> None:
        """Judge the models, and store models and heads under `out`."""
        windows = self._held_out(self.recipe.length).split(1)
        facts = json.loads((self.work / "corpus.json").read_text())
        bytes_per_token = facts["held_out_bytes"] / len(self._ids()["held_out"])
        samples = self._samples(self.recipe.models[0], seed=6)
        for name in self.recipe.models:
            per_token = nats_per_token(self._load(name), windows)
            report: dict[str, Any] = {
                "held_out_nats_per_token": per_token,
                "held_out_nats_per_byte": per_token / bytes_per_token,
                "on": "files of the standard library that no model of the family was trained on",
                **json.loads((self.work / name / EVALUATION).read_text()),
            }
            if name == self.recipe.models[0]:
                report["distinct_4grams_of_samples"] = distinct_ngrams(samples.tolist())
                alike = [window[0, : samples.shape[1]].tolist() for window in windows[: len(samples)]]
                report["distinct_4grams_of_held_out_text"] = distinct_ngrams(alike)
            _write_json(self.work / name / EVALUATION, report)
            _say(f"{name}: {per_token / bytes_per_token:.4f} nats a byte held out")
            _replace(self.work / name, out / name)
        for source, target in self.recipe.edges:
            folder = self.work / f"{source}--to--{target}" / RUN
            report = json.loads((folder / EVALUATION).read_text())
            report |= agreement(self._load(source), self._load(target), windows)
            _write_json(folder / EVALUATION, report)
            _say(f"{source} -> {target}: acceptance {report['acceptance']:.4f}, AUC {report['auc']:.4f}")
            _replace(folder, out / f"{source}--to--{target}" / RUN)

    def _distilled(
        self, teacher_name: str, layers: tuple[int, ...], schedule: Schedule, *, seed: int
    ) -> LlamaForCausalLM:
        teacher = self._load(teacher_name)
        student = Student(self._placed(selected(teacher, layers)))
        student.probe.to(self.device)
        name = f"{len(layers)} of {teacher_name}"
        loss = distillation_loss(student, teacher, foresight=self.recipe.foresight)
        windows = self._windows(seed)
        batch = partial(windows.batch, schedule.batch, library_share=self.recipe.distil_library_share)
        fit(student, batch, loss, schedule, name=name)
        return student.model

    def _store(self, model: LlamaForCausalLM, name: str) -> None:
        """bf16, with its tokenizer, under its final name only when whole."""
        staged = self.work / f".{name}"
        model.bfloat16().save_pretrained(staged)
        self._tokenizer().save_pretrained(staged)
        corpus = json.loads((self.work / "corpus.json").read_text())
        _write_json(staged / EVALUATION, {"trained_on": corpus})
        for path in staged.iterdir():
            path.chmod(0o644)
        _replace(staged, self.work / name)
        shutil.rmtree(staged)

    def _load(self, name: str) -> LlamaForCausalLM:
        model = LlamaForCausalLM.from_pretrained(self.work / name, dtype=torch.float32)
        return self._placed(cast(LlamaForCausalLM, model.eval()))

    def _placed(self, model: LlamaForCausalLM) -> LlamaForCausalLM:
        """The model, moved to the device of the making."""
        torch.nn.Module.to(model, self.device)
        return model

    def _tokenizer(self) -> PreTrainedTokenizerFast:
        return cast(PreTrainedTokenizerFast, PreTrainedTokenizerFast.from_pretrained(self.work / "tokenizer"))

    def _ids(self) -> dict[str, Ids]:
        with np.load(self.work / "ids.npz") as stored:
            return {name: stored[name] for name in stored}

    def _windows(self, seed: int, *, length: int | None = None) -> Windows:
        ids = self._ids()
        length = length or self.recipe.length
        return Windows(ids["library"], ids["others"], length=length, seed=self.recipe.seed + seed)

    def _held_out(self, length: int) -> torch.Tensor:
        """(windows, length + 1) held-out token ids."""
        row = self._ids()["held_out"]
        return torch.cat(list(held_out_windows(row, length=length, limit=self.recipe.judge_windows)))

    def _samples(self, name: str, *, seed: int) -> torch.Tensor:
        """(samples, new tokens) that a model draws at temperature 1 after held-out prompts."""
        recipe, prompts = self.recipe, self._prompts(seed=seed)
        generator = torch.Generator().manual_seed(seed)
        uniform = torch.rand(len(prompts), recipe.new_tokens, dtype=torch.float64, generator=generator)
        texts = continuations(self._load(name), prompts, uniform=uniform)
        return torch.tensor(texts)[:, recipe.prompt_tokens :]

    def _prompts(self, *, seed: int) -> list[list[int]]:
        """Pieces of held-out text."""
        recipe, row = self.recipe, self._ids()["held_out"]
        starts = np.random.default_rng(seed).integers(0, len(row) - recipe.prompt_tokens, size=recipe.samples)
        return [row[start : start + recipe.prompt_tokens].tolist() for start in starts]

    def _examples(self, source: str, target: str, text: torch.Tensor, *, seed: int) -> Examples:
        """Labels at every position but the first few, which see too little."""
        labelled = torch.zeros_like(text, dtype=torch.bool)
        labelled[:, FIRST_LABELLED:] = True
        generator = torch.Generator().manual_seed(seed)
        uniform = torch.rand(text.shape, dtype=torch.float64, generator=generator)
        models = self._load(source), self._load(target)
        parts = zip(text.split(16), labelled.split(16), uniform.split(16), strict=True)
        return Examples.joined(
            [
                acceptance_examples(
                    *models,
                    some.to(self.device),
                    labelled=marks.to(self.device),
                    uniform=numbers.to(self.device),
                ).on("cpu")
                for some, marks, numbers in parts
            ]
        )


def _origin() -> dict[str, Any]:
    """Which Python and which packages the text came from."""
    packages = {}
    for name in PACKAGES_MB:
        try:
            packages[name.strip("_")] = version(name.strip("_"))
        except PackageNotFoundError:
            continue
    return {"python": sys.version.split()[0], "packages": packages}


def _replace(source: Path, destination: Path) -> None:
    if source.resolve() == destination.resolve():
        return
    if destination.exists():
        shutil.rmtree(destination)
    destination.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, destination)


def _write_json(path: Path, report: object) -> None:
    path.write_text(json.dumps(report, indent=2) + "\n")


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def main() -> None:
    """Parse the arguments and run every step that is not done yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, required=True, help="folder for what the steps leave")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="where the family is stored")
    parser.add_argument("--size", choices=list(SIZES), default="embedded", help="which recipe")
    parser.add_argument("--device", default="cpu", help="as torch names it")
    parser.add_argument("--scale", type=float, default=1.0, help="all minutes and counts times this")
    arguments = parser.parse_args()
    recipe = SIZES[arguments.size].scaled(arguments.scale)
    family = Family(arguments.work, recipe, device=arguments.device)
    _write_json(arguments.work / "recipe.json", asdict(recipe))
    family.make(arguments.out)
    if arguments.size != "embedded":
        write_catalog(recipe, arguments.out)


if __name__ == "__main__":
    main()
