from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from registry.catalog import dump_catalog, parse_catalog
from registry.records import Calibration, Catalog, Head, Model, Source, TokenizerFamily, TrainingSummary

BASE = Path("/base")
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,6}(\.[A-Za-z0-9]{1,3})?", fullmatch=True)
FIGURES = st.floats(allow_nan=False, allow_infinity=False)
SIZES = st.integers(1, 2**63 - 1)
STEPS = st.integers(0, 2**63 - 1)
LETTERS = st.characters(codec="utf-8", categories=["L", "N", "P", "S"], max_codepoint=0xFFEF)
PROSE = st.text(LETTERS, min_size=1, max_size=12)
PARTS = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "S"], exclude_characters="~"), min_size=1, max_size=6
)
PATHS = st.lists(PARTS, min_size=1, max_size=3).map("/".join) | st.just(".")
HUBS = st.from_regex(r"[A-Za-z0-9]{1,4}/[A-Za-z0-9]{1,6}", fullmatch=True)
PLACES: st.SearchStrategy[dict[str, Any]] = (
    st.fixed_dictionaries({"hub": HUBS}, optional={"revision": NAMES})
    | st.fixed_dictionaries({"path": PATHS}, optional={"package": st.just("some.package")})
    | st.just({"package": "heads"})
)
NOWHERE: st.SearchStrategy[dict[str, Any]] = st.just({})
FACTS: dict[str, st.SearchStrategy[Any]] = {
    "hidden_size": SIZES,
    "vocab_size": SIZES,
    "parameters": SIZES,
    "license": PROSE,
    "gated": st.booleans(),
}
FAMILIES = st.builds(TokenizerFamily, vocab_size=st.none() | SIZES, fingerprint=st.none() | PROSE)
CALIBRATIONS = st.builds(Calibration, scale=FIGURES, bias=FIGURES)
TRAININGS = st.fixed_dictionaries(
    {},
    optional={
        "steps": STEPS,
        "best_step": STEPS,
        "epochs": st.floats(0, 1e300),
        **dict.fromkeys(("final_loss", "final_kl", "final_eval_loss", "final_eval_kl"), FIGURES),
        **dict.fromkeys(("best_eval_loss", "best_eval_kl"), FIGURES),
    },
).map(TrainingSummary.model_validate)


def same_head(row: tuple[list[str], str]) -> tuple[str, ...]:
    return (*row[0], row[1].lower())


@st.composite
def models(draw: st.DrawFn, tokenizers: list[str]) -> dict[str, Model]:
    aliases = draw(st.lists(NAMES, min_size=2, max_size=6, unique_by=str.lower))
    hubs = draw(st.lists(HUBS, min_size=6, max_size=6, unique_by=str.lower))
    drawn = {}
    for alias, hub in zip(aliases, hubs, strict=False):
        facts = draw(st.fixed_dictionaries({}, optional={**FACTS, "aliases": st.just((f"{alias}.other",))}))
        place = draw(NOWHERE | PLACES)
        named = {"hub": hub} if "hub" in place else {}
        tokenizer = draw(st.sampled_from([None, *tokenizers]))
        values = {**facts, **place, **named, "alias": alias, "tokenizer": tokenizer, "base": BASE}
        drawn[alias] = Model.model_validate(values)
    return drawn


@st.composite
def heads(draw: st.DrawFn, aliases: list[str], sources: list[str]) -> tuple[Head, ...]:
    ends = st.lists(st.sampled_from(aliases), min_size=2, max_size=2, unique=True)
    drawn = []
    for (source, target), run in draw(st.lists(st.tuples(ends, NAMES), max_size=5, unique_by=same_head)):
        values = {
            "source": source,
            "target": target,
            "run": run,
            "from": draw(st.sampled_from(sources)),
            "path": draw(st.none() | PATHS),
            "training": draw(st.none() | TRAININGS),
            "calibration": draw(st.none() | CALIBRATIONS),
        }
        drawn.append(Head.model_validate(values))
    return tuple(drawn)


@st.composite
def catalogs(draw: st.DrawFn) -> Catalog:
    """Catalogs of every shape that the loader accepts."""
    tokenizers = draw(st.dictionaries(NAMES, FAMILIES, max_size=3))
    places = draw(st.dictionaries(NAMES, PLACES, min_size=1, max_size=3))
    known = draw(models(sorted(tokenizers)))
    return Catalog(
        sources={name: Source.model_validate({**place, "base": BASE}) for name, place in places.items()},
        tokenizers=tokenizers,
        models=known,
        heads=draw(heads(sorted(known), sorted(places))),
    )


@settings(deadline=None, derandomize=True, max_examples=150)
@given(catalog=catalogs())
def test_round_trip(catalog: Catalog) -> None:
    """Written and read again, a catalog is the same, whatever it holds."""
    assert parse_catalog(dump_catalog(catalog), file="f", base=BASE) == catalog


def test_dump_is_for_people() -> None:
    """Each entry stands on its own line, unquoted where that is plain, without what it does not say."""
    text = (
        "version: 1\n"
        "sources:\n"
        "  s: {hub: org/heads, revision: main}\n"
        "models:\n"
        '  a: {license: "no", gated: false}\n'
        "  b: {hidden_size: 4, aliases: [bb]}\n"
        "heads:\n"
        "  - {source: a, target: b, run: exp-1, from: s, training: {final_loss: 5e-05}}\n"
    )
    assert dump_catalog(parse_catalog(text, file="f", base=BASE)) == text
