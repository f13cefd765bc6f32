"""The door to plans: which chain to decode with on this machine, out of what the store tells of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, get_args

from pydantic import ValidationError

from registry.chains import resolve
from registry.command import Catalogs, command, loading_words
from registry.errors import GenerationError, UsageError
from registry.names import find_model
from registry.planning.law import Law
from registry.planning.measurement import Measurement
from registry.planning.planned import MOST_MODELS, TOP, Plan
from registry.planning.setup import Engine, is_device
from registry.shelf import Shelf

DTYPES: Final = ("float32", "bfloat16", "float16")
RANGES: Final = {
    "temperature": "0 or more",
    "top_k": "0 or more",
    "top_p": "above 0, at most 1",
    "min_p": "0 to 1",
}


def plan(
    target: str,
    *,
    source: str | None = None,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    device: str | None = None,
    dtype: str | None = None,
    engine: str | None = None,
    memory_bytes: int | None = None,
    most_models: int = MOST_MODELS,
    installed: bool = False,
    run: str | None = None,
    top: int = TOP,
    catalog: str | Path | Sequence[str | Path] | None = None,
) -> Plan:
    """Rank the chains that end at `target` by how fast they are expected to decode on this machine.

    What `specreg measure` and `specreg tune` found is read from the store; the rest is assumed, and told as such. Needs
    no network and no torch.

    Args:
        target: Alias or Hub id of the model whose text it is.
        source: Only chains that begin there, and the target alone.
        temperature, top_k, top_p, min_p: How texts are going to be drawn, as for `generate`.
        device, dtype, engine: How models are going to be run, as for `Pipeline.load`; as they were measured when None.
        memory_bytes: What weights, and a tenth more, may take.
        most_models: Of one chain.
        installed: Only chains whose files are all on this machine, and the target alone.
        run: Only chains with that run, wherever an edge of theirs has it, and the target alone. Else, where an edge has
            several runs, the one that was tuned or heard here, or the best by the catalog.
        top: How many chains are told; the target alone is told besides.
        catalog: One or several catalog files over the built-in one.

    Raises:
        CatalogError: A catalog cannot be used; every fault is listed.
        UnknownNameError: No model of that name.
        NoChainError: No chain leads from the source to the target.
        GenerationError: An option is out of range.
        StoreError: The store is there and cannot be read.
        UsageError: Of the target neither time nor size is known, or not even it fits into the memory; or no chain
            has the run.
    """
    law = _law(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    return foretold(
        plan_here(
            Shelf.open(catalog),
            target,
            source=source,
            law=law,
            device=device,
            dtype=dtype,
            engine=engine,
            memory_bytes=memory_bytes,
            most_models=most_models,
            installed=installed,
            run=run,
            top=top,
            catalogs=_listed(catalog),
            loading=loading_words(device=device, dtype=dtype, engine=engine),
        )
    )


def plan_here(
    shelf: Shelf,
    target: str,
    *,
    law: Law,
    source: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    engine: str | None = None,
    memory_bytes: int | None = None,
    most_models: int = MOST_MODELS,
    installed: bool = False,
    run: str | None = None,
    top: int = TOP,
    measurements: Sequence[Measurement] | None = None,
    catalogs: Catalogs = (),
    loading: Sequence[str] = (),
) -> Plan:
    """The same over an open shelf; without chains where of the target neither time nor size is known.

    Recommended commands are given `catalogs`, and those that measure `loading`, the words of a command line. Where no
    `measurements` are given, the store's are taken; of two of the same kind and subject the later one counts.
    """
    from registry.planning.known import known_here  # noqa: PLC0415 - `import registry` does without
    from registry.planning.plan import plan as ranked  # noqa: PLC0415 - numpy
    from registry.store.measured import read_measurements  # noqa: PLC0415 - sqlite3

    for name, count, expected in (
        ("top", top, "an integer, 1 or more"),
        ("most_models", most_models, "an integer, 1 or more"),
        ("memory_bytes", 1 if memory_bytes is None else memory_bytes, "a number of bytes, or None"),
    ):
        _require(isinstance(count, int) and count >= 1, name, expected, count)
    _require(
        device is None or is_device(device),
        "device",
        "a device as torch names it, such as 'cpu', 'cuda' or 'cuda:0'",
        device,
        next_step="Name one, or leave it out: the plan is then for what was measured here.",
    )
    _require(dtype in {None, *DTYPES}, "dtype", f"one of {', '.join(DTYPES)}", dtype)
    _require(engine in {None, *get_args(Engine)}, "engine", f"one of {', '.join(get_args(Engine))}", engine)
    last = find_model(shelf.catalog, target).alias
    first = None if source is None else find_model(shelf.catalog, source).alias
    known = read_measurements() if measurements is None else measurements
    measured = known_here(shelf, known, subjects=[last], device=device, dtype=dtype, engine=engine)
    found = ranked(
        shelf,
        last,
        measured=measured,
        law=law,
        source=first,
        top=top,
        most_models=most_models,
        memory_bytes=memory_bytes,
        dtype=dtype,
        installed=installed,
        run=run,
        catalogs=catalogs,
        loading=loading,
    )
    if found.considered - found.refused == 1:  # the target alone
        _require_way(shelf, first, last, run=run, most_models=most_models, installed=installed)
    return found


def foretold(found: Plan) -> Plan:
    """The plan, which has chains. Raises UsageError where it has none."""
    if not found.chains:
        measure = command("measure", found.target)
        raise UsageError(
            f"Nothing can be foretold of {found.target}: expected its time in this setup or its number of parameters, "
            f"got neither. `{measure}` finds the one where its files are here; safetensors files here, or its catalog "
            "entry, tell the other, as `parameters:`."
        )
    return found


def _require_way(
    shelf: Shelf, source: str | None, target: str, *, run: str | None, most_models: int, installed: bool
) -> None:
    """Where a source or a run was asked for and the target alone was found, say why.

    Raises:
        NoChainError: No chain leads from the source to the target, or none with that run.
        UsageError: Every one has more models than were asked for; or no chain to the target has that run.
        NotInstalledError: What there is is not on this machine.
    """
    if source is not None and source != target:
        chain = resolve(shelf.catalog, source, target, run=run, facts=shelf.edge_facts)
        for head in chain.heads if installed else ():
            shelf.head_place(head).installed(head.name)
        for model in chain.models if installed else ():
            shelf.model_place(model).installed(model.alias)
        if len(chain.models) > most_models:
            raise UsageError(
                f"Expected a chain of at most {most_models} models from {source} to {target}, got none, but "
                f"{' -> '.join(chain.names)}. Ask for more models in one chain."
            )
    elif run is not None:
        here = " whose files are all here" if installed else ""
        raise UsageError(
            f"Expected a chain to {target}{here} that has a head of run {run}, got none. `specreg list` names the "
            "runs; leave --run out for the best of any."
        )


def _listed(catalog: str | Path | Sequence[str | Path] | None) -> Catalogs:
    if catalog is None:
        return ()
    return [catalog] if isinstance(catalog, str | Path) else catalog


def _law(**options: float) -> Law:
    try:
        return Law.model_validate(options)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        raise GenerationError(option=name, expected=RANGES[name], found=options[name]) from None


def _require(sound: bool, option: str, expected: str, found: object, *, next_step: str = "") -> None:
    if not sound:
        raise GenerationError(option=option, expected=expected, found=found, next_step=next_step)
