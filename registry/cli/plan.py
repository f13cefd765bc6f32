"""`specreg plan`: which chain, which lengths, on this machine."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from registry.cli.options import as_json, with_catalog, with_law, with_loading
from registry.cli.plantable import print_plan
from registry.cli.printing import print_json
from registry.cli.recalling import recalled_measurements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registry.planning.law import Law
    from registry.planning.measurement import Measurement
    from registry.planning.planned import Plan
    from registry.shelf import Shelf

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([KMGT]?)(i?)B?", re.IGNORECASE)


class Size(click.ParamType[int]):
    """Bytes, as `80GB`, `80 GiB` or a plain number.

    >>> Size().convert("80GB", None, None), Size().convert("1.5 GiB", None, None)
    (80000000000, 1610612736)
    >>> Size().convert("0 GB", None, None)
    Traceback (most recent call last):
    click.exceptions.BadParameter: expected a size above 0, such as 80GB or 24GiB, got '0 GB'
    """

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it, or say what was expected."""
        match = _SIZE.fullmatch(str(value).strip())
        if match is None or not float(match[1]):
            self.fail(f"expected a size above 0, such as 80GB or 24GiB, got {value!r}", param, ctx)
        number, unit, binary = match.groups()
        power = "KMGT".index(unit.upper()) + 1 if unit else 0
        return round(float(number) * float(1024 if binary else 1000) ** power)


@click.command(
    short_help="Predict which chain decodes fastest on this machine.",
    epilog="Example: specreg plan qwen3-14b --memory 80GB",
)
@click.argument("names", nargs=-1, required=True, metavar="[SOURCE] TARGET")
@click.option(
    "--memory",
    type=Size(),
    metavar="SIZE",
    help="Leave out chains whose weights, and a tenth more, need more than this: 80GB.",
)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    metavar="N",
    help="Show the N fastest chains.",
)
@click.option(
    "--most-models",
    type=click.IntRange(min=1, max=6),
    default=4,
    show_default=True,
    metavar="N",
    help="Only chains of at most N models.",
)
@click.option("--installed", is_flag=True, help="Only chains whose files are all here, and TARGET alone.")
@click.option(
    "--run",
    metavar="NAME",
    help="Take the heads of this training run, wherever a pair of models has one. Default: the one tuned or measured "
    "here, else the best by the catalog.",
)
@click.option(
    "--measure",
    "measuring",
    is_flag=True,
    help="First measure those models that are here and were not measured.",
)
@with_law
@with_loading
@with_catalog
@as_json
def plan(names: tuple[str, ...], as_json: bool, measuring: bool, **options: Any) -> int:
    """Predict which of the catalog's chains that end at TARGET decode fastest on this machine, and with what lengths.

    What `specreg measure` found is used; the rest is assumed by the sizes of models, and marked as assumed. Tokens per
    second leave out the time of reading the prompt. With SOURCE, only chains that begin there, and TARGET alone, are
    considered. Where `specreg tune` found other lengths than are planned, both are shown, and `decode` takes the tuned
    ones. Needs no network, and loads torch only to measure. Where measurements cannot be stored the plan uses them all
    the same, and the command ends with 2.
    """
    if len(names) > 2:
        raise click.UsageError(f"One or two models are expected, [SOURCE] TARGET, got {len(names)}.")
    from registry.planning.law import Law
    from registry.shelf import Shelf

    shelf = Shelf.open(options["catalog"])
    law = Law(**{name: options[name] for name in ("temperature", "top_k", "top_p", "min_p")})
    fresh, kept = _measure_missing(shelf, names, law, options) if measuring else ([], True)
    found = planned(shelf, names, law, options, fresh)
    if as_json:
        print_json(found.to_json())
    else:
        click.echo(f"{found.target}, {found.law.key}, on {found.device}", err=True)
        print_plan(found)
        _notes(found, options)
    return 0 if kept else 2


def planned(
    shelf: Shelf,
    names: tuple[str, ...],
    law: Law,
    options: dict[str, Any],
    fresh: Sequence[Measurement] = (),
) -> Plan:
    """The plan for [SOURCE] TARGET, by what the store tells of this machine and what is fresh; it has chains."""
    from registry.planning.door import foretold

    return foretold(_asked(shelf, names, law, options, fresh))


def _asked(
    shelf: Shelf,
    names: tuple[str, ...],
    law: Law,
    options: dict[str, Any],
    fresh: Sequence[Measurement] = (),
) -> Plan:
    from registry.command import loading_words
    from registry.planning.door import plan_here
    from registry.planning.planned import MOST_MODELS, TOP

    setup = ("device", "dtype", "engine")
    given = options.get("given", options)  # by the user, where options say what came of it
    return plan_here(
        shelf,
        names[-1],
        law=law,
        source=names[0] if len(names) > 1 else None,
        top=options.get("top", TOP),
        most_models=options.get("most_models", MOST_MODELS),
        memory_bytes=options.get("memory"),
        installed=options.get("installed", False),
        run=options["run"],
        measurements=[*recalled_measurements(), *fresh],
        catalogs=options["catalog"],
        loading=loading_words(**{name: given[name] for name in setup}),
        **{name: options[name] for name in setup},
    )


def _measure_missing(
    shelf: Shelf, names: tuple[str, ...], law: Law, options: dict[str, Any]
) -> tuple[list[Measurement], bool]:
    """Measure the chains that the plan would tell, as far as they are here and were not measured.

    What was found, and whether all of it is kept.
    """
    from registry.chains import lone
    from registry.cli.measure import measure_pipeline
    from registry.pipeline import Pipeline

    fresh: list[Measurement] = []
    kept = True
    found = _asked(shelf, names, law, options)
    if not found.chains and shelf.model_place(shelf.catalog.models[found.target]).folder is not None:
        alone = Pipeline(lone(shelf.catalog, found.target), shelf)
        fresh, kept = measure_pipeline(alone, laws=[law], options=options)
        found = _asked(shelf, names, law, options, fresh)
    done: list[set[str]] = []
    # the longest tell of their parts too
    for one in sorted(found.chains, key=lambda one: -len(one.models)):
        within = any(set(one.models) <= known for known in done)
        if one.installed and not one.estimate.measured and not within:
            more, all_kept = measure_pipeline(one.pipeline(), laws=[law], options=options)
            fresh, kept = [*fresh, *more], kept and all_kept
            done.append(set(one.models))
    return fresh, kept


def first_steps(found: Plan) -> list[str]:
    """What to do first: for the longest chain that is here, whose measurements tell of its parts, else the best."""
    here = [one for one in found.chains if one.installed and one.next]
    longest = max(here, key=lambda one: len(one.estimate.models), default=None)
    chosen = [one for one in (longest, found.chains[0]) if one is not None and one.next]
    return list(chosen[0].next) if chosen else []


def _notes(found: Plan, options: dict[str, Any]) -> None:
    """What was left out, and what to do next for the best chain and for a better one."""
    notes = []
    if found.setup is None and not options["device"]:
        notes.append(
            "Nothing was measured in this setup, and no --device says which times to assume: `--device cpu` takes "
            "those of a CPU."
        )
    for count, why in (
        (found.unknown, "with a model whose size neither the catalog nor a file here tells"),
        (found.too_large, "that would not fit into that memory"),
        (found.refused, "whose files show that they do not fit together"),
    ):
        if count:
            notes.append(f"Left out: {count} {'chain' if count == 1 else 'chains'} {why}.")
    if not found.complete:
        notes.append("There are more chains than were looked at; name a SOURCE, or fewer --most-models.")
    if steps := first_steps(found):
        notes.append("Next: " + "; ".join(steps))
    if found.train:
        notes.append("A head that nobody has made yet would do better: " + found.train)
    for note in notes:
        click.echo(note, err=True)
