"""`specreg plan`: which chain, which lengths, on this machine."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from registry.cli.options import as_json, with_catalog, with_law, with_loading
from registry.cli.printing import print_json, print_table

if TYPE_CHECKING:
    from registry.planning.law import Law
    from registry.planning.plan import Plan, PlannedChain
    from registry.shelf import Shelf

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([KMGT]?)(i?)B?", re.IGNORECASE)


class Size(click.ParamType[int]):
    """Bytes, as `80GB`, `80 GiB` or a plain number.

    >>> Size().convert("80GB", None, None), Size().convert("1.5 GiB", None, None)
    (80000000000, 1610612736)
    """

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it, or say what was expected."""
        match = _SIZE.fullmatch(str(value).strip())
        if match is None:
            self.fail(f"expected a size such as 80GB or 24GiB, got {value!r}", param, ctx)
        number, unit, binary = match.groups()
        power = "KMGT".index(unit.upper()) + 1 if unit else 0
        return round(float(number) * float(1024 if binary else 1000) ** power)


@click.command(epilog="Example: specreg plan qwen3-14b --memory 80GB")
@click.argument("names", nargs=-1, required=True, metavar="[SOURCE] TARGET")
@click.option("--memory", type=Size(), metavar="SIZE", help="What weights, and a tenth more, may take: 80GB.")
@click.option(
    "--top", type=click.IntRange(min=1), default=5, show_default=True, metavar="N", help="So many chains."
)
@click.option(
    "--most-models",
    type=click.IntRange(min=1, max=6),
    default=4,
    show_default=True,
    metavar="N",
    help="In one chain.",
)
@click.option("--measure", "measuring", is_flag=True, help="Measure first what is here and was not measured.")
@with_law
@with_loading
@with_catalog
@as_json
def plan(names: tuple[str, ...], as_json: bool, measuring: bool, **options: Any) -> None:
    """Say which chains of the graph that end at TARGET decode fastest on this machine, and with what lengths.

    What `specreg measure` found counts; the rest is assumed by the sizes of models, and told as such. Tokens per second
    are those while decoding, prompts not counted. With SOURCE only chains that begin there, and TARGET alone, are
    looked at. Needs no network, and unless it measures no torch.
    """
    if len(names) > 2:
        raise click.UsageError(f"One or two models are expected, [SOURCE] TARGET, got {len(names)}.")
    from registry.planning.law import Law
    from registry.shelf import Shelf

    shelf = Shelf.open(options["catalog"])
    law = Law(**{name: options[name] for name in ("temperature", "top_k", "top_p")})
    if measuring:
        _measure_missing(shelf, names, law, options)
    found = planned(shelf, names, law, options)
    if as_json:
        print_json(found.to_json())
        return
    _print(found)


def planned(shelf: Shelf, names: tuple[str, ...], law: Law, options: dict[str, Any]) -> Plan:
    """The plan for [SOURCE] TARGET, by what the store tells of this machine."""
    from registry.names import find_model
    from registry.planning.known import known_here
    from registry.planning.plan import plan as make_plan
    from registry.store.measured import read_measurements

    aliases = [find_model(shelf.catalog, name).alias for name in names]
    setup = {name: options[name] for name in ("device", "dtype", "engine")}
    measured = known_here(shelf, read_measurements(), subjects=aliases[-1:], **setup)
    return make_plan(
        shelf,
        aliases[-1],
        measured=measured,
        law=law,
        source=aliases[0] if len(aliases) > 1 else None,
        top=options.get("top", 5),
        most_models=options.get("most_models", 4),
        memory_bytes=options.get("memory"),
        dtype=options["dtype"],
    )


def _measure_missing(shelf: Shelf, names: tuple[str, ...], law: Law, options: dict[str, Any]) -> None:
    """Measure the chains that the plan would tell, as far as they are here and were not measured."""
    from registry.cli.measure import measure_chain

    done: list[set[str]] = []
    listed = planned(shelf, names, law, options).chains
    # the longest tell of their parts too
    for one in sorted(listed, key=lambda one: -len(one.estimate.models)):
        models = one.estimate.models
        within = any(set(models) <= known for known in done)
        if one.installed and not one.estimate.measured and not within:
            measure_chain(models, laws=[law], options=options)
            done.append(set(models))


def _print(found: Plan) -> None:
    click.echo(f"{found.target}, {found.law.key}, on {found.device}", err=True)
    print_table(
        ("chain", "tokens/s", "x alone", "lengths", "memory", "acceptance", "basis"),
        [_line(one) for one in found.chains],
    )
    _notes(found)


def _line(one: PlannedChain) -> list[str]:
    estimate = one.estimate
    size = one.memory_bytes
    return [
        " -> ".join(estimate.models),
        f"{one.tokens_per_second:.1f}",
        f"{one.speedup:.2f}",
        str(estimate.lengths) or "-",
        "-" if size is None else _readable(size),
        " ".join(f"{share:.2f}" for share, _ in estimate.acceptance.values()) or "-",
        _basis(one),
    ]


def _readable(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"


def _basis(one: PlannedChain) -> str:
    """What is measured and what assumed, in few words."""
    estimate = one.estimate
    times = set(estimate.forwards.values())
    shares = {basis for _, basis in estimate.acceptance.values()}
    if times | shares == {"measured"}:
        return "measured"
    told = [f"times {' and '.join(sorted(times))}"]
    return ", ".join(told + ([f"acceptance {' and '.join(sorted(shares))}"] if shares else []))


def _steps(found: Plan) -> list[str]:
    """What to do first: for the longest chain that is here, whose measurements tell of its parts, else the best."""
    here = [one for one in found.chains if one.installed and one.next]
    longest = max(here, key=lambda one: len(one.estimate.models), default=None)
    chosen = [one for one in (longest, found.chains[0]) if one is not None and one.next]
    return list(chosen[0].next) if chosen else []


def _notes(found: Plan) -> None:
    """What was left out, and what to do next for the best chain and for a better one."""
    notes = []
    if found.unknown:
        notes.append(f"{found.unknown} chains have a model whose size the catalog does not tell: left out.")
    if found.too_large:
        notes.append(f"{found.too_large} chains do not fit into that memory: left out.")
    if not found.complete:
        notes.append("There are more chains than were looked at; name a SOURCE, or fewer --most-models.")
    if steps := _steps(found):
        notes.append("Next: " + "; ".join(steps))
    if found.train:
        notes.append("A head that nobody has made yet would do better: " + found.train)
    for note in notes:
        click.echo(note, err=True)
