"""The chain that `specreg decode --auto` takes: the plan's best of those here, run as it was planned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from registry.cli.plan import first_steps, planned

if TYPE_CHECKING:
    from registry.pipeline import Pipeline
    from registry.planning.law import Law
    from registry.planning.planned import Plan, PlannedChain
    from registry.planning.setup import Setup


@dataclass(frozen=True, kw_only=True)
class AutoPlan:
    """The chain chosen, the setup it was planned for, and the options of loading that the plan adds."""

    chosen: PlannedChain
    setup: Setup | None
    loading: dict[str, Any]

    @property
    def pipeline(self) -> Pipeline:
        """To load."""
        return self.chosen.pipeline()

    @property
    def settings(self) -> dict[str, Any]:
        """The planned lengths, as options of `generate`."""
        return self.chosen.estimate.lengths.settings

    def elsewhere(self, setup: Setup) -> str | None:
        """The sentence to warn with where it is run otherwise than it was planned; the dtype does not count."""
        if self.setup is None or self.setup.model_copy(update={"dtype": setup.dtype}) == setup:
            return None
        return (
            f"Planned by what was measured on {self.setup}, and run on {setup}, where other lengths may be faster: "
            "`specreg measure` tells, run in the same way."
        )

    def __str__(self) -> str:
        """For people: the chain, and the engine where it is the plan's choice."""
        engine = f", {self.loading['engine']}" if self.loading else ""
        return f"planned: {self.chosen.name}{engine}"


def auto_plan(
    source: str,
    target: str | None,
    law: Law | None,
    options: dict[str, Any],
    *,
    device_type: Callable[[], str],
) -> AutoPlan:
    """The best chain whose files are here, for the device, 'cpu' or 'cuda', and the dtype that it will run in.

    The device is asked for once names and options are in order, since torch takes seconds to tell it.

    The engine is that of the setup that was measured, where no option says another. The dtype is never the plan's: the
    text hangs on it. A line on stderr says where nothing was measured, and which command would.
    """
    from registry.names import find_model
    from registry.shelf import Shelf

    if options["length"] or options["via"]:
        raise click.UsageError("--auto chooses the chain: give it, or --length and --via.")
    if law is None:
        raise click.UsageError(
            "--auto plans for temperature, top-k, top-p and min-p in range; one of them is not."
        )
    shelf = Shelf.open(options["catalog"])
    names = (source,) if target is None else (source, target)
    for name in names:
        find_model(shelf.catalog, name)
    device = device_type()
    usual = "float32" if device == "cpu" else None
    setup = {"device": device, "dtype": options["dtype"] or usual}
    asked = options | setup | {"installed": True, "given": options}
    found = planned(shelf, names, law, asked)
    best = found.best_here or found.best
    _warn(found, best)
    return AutoPlan(chosen=best, setup=found.setup, loading=_engine(found, device, options))


def _engine(found: Plan, device: str, options: dict[str, Any]) -> dict[str, Any]:
    """The engine that was measured, where it is not the one that a device has anyway; else nothing."""
    usual = "eager" if device == "cpu" else "captured"
    if options["engine"] or options["device_map"] or found.setup is None or found.setup.engine == usual:
        return {}
    return {"engine": found.setup.engine}


def _warn(found: Plan, best: PlannedChain) -> None:
    """Say that the choice is a guess, and what would make it more; one that is not here lacks its files first."""
    if best.estimate.measured or not best.installed:
        return
    guess = f"{best.name} is" if best.tuned else f"{best.name} and its lengths are"
    steps = "; ".join(f"`{step}`" for step in first_steps(found))
    click.echo(
        f"specreg: {_unmeasured(found, best)}: {guess} a guess"
        + (f". To measure: {steps}." if steps else "."),
        err=True,
    )


def _unmeasured(found: Plan, best: PlannedChain) -> str:
    """What of it is not known, and what is taken in its place."""
    if found.setup is None:
        return f"Nothing was measured in this setup ({found.assumed})"
    timed = set(best.estimate.forwards.values()) == {"measured"}
    if timed and any(basis != "measured" for _, basis in best.estimate.acceptance.values()):
        return f"Acceptance was not measured for this way to sample ({found.law.key})"
    return f"Not everything was measured in this setup ({found.assumed})"
