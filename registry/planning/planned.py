"""Chains to one model, ranked: what is expected of each, on what grounds, and the way from one to decoding."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from registry.pipeline import Pipeline
from registry.planning.setup import Loading

if TYPE_CHECKING:
    from registry.chains import Chain
    from registry.planning.assumed import AssumedTimes
    from registry.planning.estimate import Estimate
    from registry.planning.law import Law
    from registry.planning.lengths import DraftLengths
    from registry.planning.setup import Setup
    from registry.shelf import Shelf

TOP: Final = 5
MOST_MODELS: Final = 4


@dataclass(frozen=True, kw_only=True)
class PlannedChain:
    """One chain: what is expected of it, and what would have to be done first.

    Attributes:
        chain: The models and heads.
        estimate: What is expected, with the lengths that suit it best, and what of it was measured.
        speedup: Over the target alone.
        memory_bytes: That of the weights and a tenth more; None where sizes are not known.
        installed: Whether every file is on this machine.
        next: Commands that come before it can be trusted and used.
        tuned: Lengths that `specreg tune` found by running it in this setup; None where it did not.
        parallel: Of each edge, whether the catalog has other runs of its head.
    """

    chain: Chain
    estimate: Estimate
    speedup: float
    memory_bytes: int | None
    installed: bool
    next: tuple[str, ...] = ()
    tuned: DraftLengths | None = None
    parallel: tuple[bool, ...] = ()
    shelf: Shelf = field(repr=False, compare=False)

    @property
    def models(self) -> tuple[str, ...]:
        """Aliases, smallest first."""
        return self.estimate.models

    @property
    def tokens_per_second(self) -> float:
        """While decoding with the estimate's lengths; prompts are not counted."""
        return 1 / self.estimate.seconds_per_token

    @property
    def lengths(self) -> DraftLengths:
        """How long to draft: as `tune` found by running the chain, else as it is planned."""
        return self.tuned or self.estimate.lengths

    @property
    def settings(self) -> dict[str, Any]:
        """The same, as options of `generate`; none for the target alone."""
        return self.lengths.settings

    @property
    def name(self) -> str:
        """The models in order; where an edge has several runs, the one that is planned stands on the arrow."""
        told = [self.models[0]]
        for head, several, model in zip(self.chain.heads, self.parallel, self.models[1:], strict=True):
            told += [f"-[{head.run}]->" if several else "->", model]
        return " ".join(told)

    def pipeline(self) -> Pipeline:
        """The chain where its checkpoints are: to download, verify and load."""
        return Pipeline(self.chain, self.shelf)

    def to_json(self) -> dict[str, Any]:
        """One entry of "chains"."""
        one = self.estimate
        return {
            "models": list(one.models),
            "predicted_tokens_per_second": self.tokens_per_second,
            "predicted_speedup": self.speedup,
            "settings": one.lengths.settings,
            "tuned": None if self.tuned is None else self.tuned.settings,
            "basis": {
                "forwards": dict(one.forwards),
                "rounds": dict(one.rounds),
                "acceptance": {
                    edge: {"value": value, "from": basis} for edge, (value, basis) in one.acceptance.items()
                },
                "lengths": "replayed" if one.replayed else "expected",
            },
            "heads": list(one.heads),
            "memory_bytes": self.memory_bytes,
            "installed": self.installed,
            "next": list(self.next),
        }


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Chains to one target, best first, the target alone among them.

    `setup` is what the plan is for, None where nothing was measured in one like that, and `assumed` tells whose times
    models have that were not measured there; `device` says both to people. `considered` counts the chains of the
    graph, `unknown` those with a model whose size nobody tells, `too_large` those that were asked to fit and do not,
    `refused` those whose files show that they are no chain.
    `complete` is False where there were more than could be looked at. `train` is the command for an edge that is not
    there and would pay, None where there is none. `unread` counts measurements that another version of specreg kept,
    and that this one leaves out since it does not know what they say.
    """

    target: str
    setup: Setup | None
    assumed: AssumedTimes
    law: Law
    chains: tuple[PlannedChain, ...]
    considered: int
    unknown: int
    too_large: int
    refused: int
    complete: bool
    train: str | None
    unread: int

    @property
    def best(self) -> PlannedChain:
        """The chain that is expected to be fastest, whether its files are here or not."""
        return self.chains[0]

    @property
    def best_here(self) -> PlannedChain | None:
        """The fastest of those told whose files are all on this machine; None where there is none."""
        return next((one for one in self.chains if one.installed), None)

    @property
    def loading(self) -> Loading:
        """Options of `Pipeline.load` that run models as they were measured; none where nothing was."""
        return Loading() if self.setup is None else self.setup.loading

    @property
    def device(self) -> str:
        """What it is for, whose times are assumed where they are not that machine's own, and what was not read."""
        if not self.unread:
            return self._timed_on
        count = f"{self.unread} measurement{'s' if self.unread > 1 else ''}"
        return (
            f"{self._timed_on}; left out: {count} of another version of specreg, which this one cannot read; "
            "`specreg measure` and `specreg tune` make them anew"
        )

    @property
    def _timed_on(self) -> str:
        bases = {basis for one in self.chains for basis in one.estimate.forwards.values()}
        if self.setup is None:
            return f"a setup that was not measured ({self.assumed})"
        if "assumed" not in bases or self.assumed.fitted:
            return str(self.setup)
        timed = "not timed" if bases == {"assumed"} else "not all models timed"
        return f"{self.setup}, {timed} ({self.assumed})"

    def to_json(self) -> dict[str, Any]:
        """The document of `specreg plan --json`."""
        return {
            "target": self.target,
            "device": self._timed_on,
            "law": self.law.key,
            "assumed_times": {
                "of": self.assumed.of,
                "launch_s": self.assumed.launch_s,
                "bytes_per_second": self.assumed.bytes_per_second,
                "further_tokens": self.assumed.further,
            },
            "chains": [one.to_json() for one in self.chains],
            "considered": self.considered,
            "unknown_sizes": self.unknown,
            "too_large": self.too_large,
            "refused": self.refused,
            "complete": self.complete,
            "train": self.train,
            "unread_measurements": self.unread,
        }
