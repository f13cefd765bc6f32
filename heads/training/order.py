"""What a user asks a training for."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from heads.training.labels import Labelling
from heads.training.learning import HeadTraining
from heads.training.warper import Warper
from registry.errors import UsageError
from registry.reading.fields import ALIAS, NAME
from registry.records import HEAD_SEPARATOR, Model
from registry.runs import parse_run_name


@dataclass(frozen=True, kw_only=True)
class Order:
    """One head to be trained: between which models, from which prompts, and how.

    prompts: Texts; with `chat`, each the message of a user.
    labels: How drawn tokens are read; `mixing_ratio` is the share of the text's own tokens in a 'row'.
    held_out: Share of the prompts that is kept for evaluation and calibration.
    calibrate: Whether scale and bias are fitted on those.
    batch_size: Prompts that the target continues at a time.

    Raises:
        UsageError: an option out of range, a name that a catalog would refuse, or a run's name that tells another
            depth or weight.
    """

    source: Model
    target: Model
    run: str
    prompts: tuple[str, ...]
    chat: bool = False
    max_new_tokens: int = 128
    warper: Warper = field(default_factory=Warper)
    labels: Labelling = "branch"
    mixing_ratio: float = 0.15
    held_out: float = 0.1
    calibrate: bool = True
    batch_size: int = 32
    seed: int = 0
    license: str = "mit"
    training: HeadTraining = field(default_factory=HeadTraining)

    def __post_init__(self) -> None:
        for what, name, rule in (  # folders are called so, and at the end the catalog's entry
            ("The training run's name", self.run, NAME),
            ("The source's alias", self.source.alias, ALIAS),
            ("The target's alias", self.target.alias, ALIAS),
        ):
            if not rule.accepts(name):
                raise UsageError(
                    f"{what} is refused: expected {rule.expected}, at most {rule.longest} of them, got "
                    f"{ascii(name)[:120]}. Give another, like exp-weight6-layer3."
                )
        if self.source.alias == self.target.alias:
            raise UsageError(
                f"A head leads from one model to another, got {self.source.alias} twice. Name two models."
            )
        depth = parse_run_name(self.run).layers
        if depth is not None and depth != self.training.num_layers:
            raise UsageError(
                f"The run's name {self.run} says {depth} residual blocks, --layers says {self.training.num_layers}. "
                "Make them agree."
            )
        weight = parse_run_name(self.run).mismatch_weight
        if weight is not None and weight != self.training.mismatch_weight:
            raise UsageError(
                f"The run's name {self.run} says a weight of {weight:g} on rejection, --mismatch-weight says "
                f"{self.training.mismatch_weight:g}. Make them agree."
            )
        for name, holds, expected in (
            ("max_new_tokens", self.max_new_tokens >= 1, "at least 1"),
            ("mixing_ratio", 0 <= self.mixing_ratio < 1, "0 or more and below 1"),
            ("held_out", 0 <= self.held_out < 1, "0 or more and below 1"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
        ):
            if not holds:
                raise UsageError(f"{name} must be {expected}, got {getattr(self, name)}.")

    @property
    def edge(self) -> str:
        """`<source>--to--<target>`"""
        return f"{self.source.alias}{HEAD_SEPARATOR}{self.target.alias}"

    @property
    def name(self) -> str:
        """`<source>--to--<target>/<run>`"""
        return f"{self.edge}/{self.run}"

    def facts(self) -> dict[str, Any]:
        """All that the result depends on, but for prompts, models and the machine."""
        told = {
            "source": self.source.alias,
            "target": self.target.alias,
            "max_new_tokens": self.max_new_tokens,
            "labels": self.labels,
            "held_out": self.held_out,
            "calibrate": self.calibrate,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "license": self.license,
            **{f"warper.{key}": value for key, value in asdict(self.warper).items()},
            **{f"training.{key}": value for key, value in asdict(self.training).items()},
        }
        if self.labels == "row":
            told["mixing_ratio"] = self.mixing_ratio
        return told
