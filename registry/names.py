"""Finding models and heads by the names people type.

A model answers to its alias, its Hub id and the aliases its catalog lists, without regard to case. A head
is called `<source>--to--<target>` with or without `/<run>`; its two models answer to all their names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from registry.errors import UnknownNameError, UsageError
from registry.records import HEAD_SEPARATOR, Catalog, Head, Model

LONGEST_COMPARED = 200
MOST_COMPARED = 2_000


def find_model(catalog: Catalog, name: str) -> Model:
    """The model that answers to `name`.

    Raises:
        UnknownNameError: no model does; `kind` is 'model', `suggestions` are the nearest aliases.
        UsageError: that is no name.
    """
    given: object = name
    if not isinstance(given, str):
        raise UsageError(f"A model is named by its alias or Hub id, a string, got {name!r}.")
    model = _model_or_none(catalog, name)
    if model is None:
        raise UnknownNameError(kind="model", name=name, suggestions=suggest_models(catalog.models, name))
    return model


def find_heads(catalog: Catalog, name: str) -> tuple[Head, ...]:
    """Every run of the edge that `name` calls, in catalog order; with `/<run>`, that run alone.

    Raises:
        UnknownNameError: no such edge (`kind` 'head'), or the edge has no such run (`kind` 'run').
    """
    for source, target, run in _readings(name):
        ends = _model_or_none(catalog, source), _model_or_none(catalog, target)
        edge = [head for head in catalog.heads if _joins(head, *ends)]
        if edge:
            return tuple(edge) if run is None else (_run_of(edge, run, name),)
    raise UnknownNameError(
        kind="head", name=name, suggestions=nearest(name, dict.fromkeys(head.edge for head in catalog.heads))
    )


def names_of(model: Model) -> Iterator[str]:
    """Every name the model answers to: alias, listed aliases, Hub id."""
    yield model.alias
    yield from model.aliases
    if model.hub is not None:
        yield model.hub


def fold(name: str) -> str:
    """The form in which names are compared."""
    return name.lower()


def suggest_models(models: dict[str, Model], name: str) -> tuple[str, ...]:
    """Aliases of the models whose names come nearest to `name`, best first, at most three."""
    alias_of = {fold(known): model.alias for model in models.values() for known in names_of(model)}
    tail = fold(name).rpartition("/")[2]  # a stranger's copy of a model we know
    if tail in alias_of:
        return (alias_of[tail],)
    close = nearest(name, alias_of, limit=6)
    return tuple(dict.fromkeys(alias_of[known] for known in close))[:3]


def nearest(name: str, known: Iterable[str], *, limit: int = 3) -> tuple[str, ...]:
    """Known names most like `name`, best first. Bounded: long names and long lists are not compared."""
    import difflib  # noqa: PLC0415 - only a mistake needs it

    if len(name) > LONGEST_COMPARED:
        return ()
    by_folded = {fold(one): one for one in known}
    candidates = list(by_folded)
    if len(candidates) > MOST_COMPARED:
        candidates = [one for one in candidates if one[:3] == fold(name)[:3]][:MOST_COMPARED]
    close = difflib.get_close_matches(fold(name), candidates, n=limit, cutoff=0.6)
    return tuple(by_folded[one] for one in close)


def _model_or_none(catalog: Catalog, name: str) -> Model | None:
    exact = catalog.models.get(name)
    if exact is not None:
        return exact
    wanted = fold(name)
    for model in catalog.models.values():
        if any(fold(known) == wanted for known in names_of(model)):
            return model
    return None


def _readings(name: str) -> Iterator[tuple[str, str, str | None]]:
    """Source, target and run in `name`. A Hub id holds a `/` too, so the whole tail is tried first."""
    at = fold(name).find(HEAD_SEPARATOR)
    if at < 0:
        return
    source, tail = name[:at], name[at + len(HEAD_SEPARATOR) :].removesuffix("/")
    yield source, tail, None
    target, slash, run = tail.rpartition("/")
    if slash:
        yield source, target, run


def _joins(head: Head, source: Model | None, target: Model | None) -> bool:
    if source is None or target is None:
        return False
    return head.source == source.alias and head.target == target.alias


def _run_of(edge: list[Head], run: str, name: str) -> Head:
    for head in edge:
        if fold(head.run) == fold(run):
            return head
    raise UnknownNameError(kind="run", name=name, suggestions=[head.name for head in edge][:3])
