"""A pipeline tuned: loaded, searched, and what was found kept in the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from heads.bench.loading import Said, load_for
from heads.bench.prompts import chosen, own_prompts, read_prompts
from heads.bench.provenance import machine
from heads.bench.systems import Sampling
from heads.measuring.setting import setup_of
from heads.tuning.tuning import Bar, Tuning, tune
from registry.planning.choosing import LONGEST
from registry.planning.estimate import Estimator
from registry.planning.fingerprint import fingerprint
from registry.planning.known import known_of
from registry.planning.law import Law
from registry.planning.measured import lengths_subject
from registry.planning.measurement import Measurement
from registry.planning.setup import Setup
from registry.store.remembering import note_measurements

if TYPE_CHECKING:
    from registry.pipeline import Pipeline


def tune_pipeline(
    pipeline: Pipeline,
    *,
    options: Mapping[str, Any],
    measurements: Sequence[Measurement],
    bar: Bar,
    said: Said = lambda _: None,
) -> tuple[Tuning, Setup, str | None]:
    """Load the chain, search, and keep what was found.

    Args:
        pipeline: A chain of two models at least.
        options: Of the command: prompts, limit, max_new_tokens, repeats, temperature, top_k, top_p, min_p, device,
            dtype, engine.
        measurements: All that the store tells.
        bar: Opens a progress bar of so many steps, called so.
        said: Called with what the chain needs of memory before it is loaded; with None where that cannot be told.

    Returns:
        What was found, on what, and the sentence to warn with where it could not be kept.
    """
    given = own_prompts() if options["prompts"] is None else read_prompts(options["prompts"])
    prompts = chosen(given, limit=options["limit"])
    cascade, ids = load_for(
        pipeline,
        prompts,
        max_draft=LONGEST,
        **{name: options[name] for name in ("max_new_tokens", "device", "dtype", "engine")},
        said=said,
    )
    law = Law(**{name: options[name] for name in ("temperature", "top_k", "top_p", "min_p")})
    sampling = Sampling(
        max_new_tokens=options["max_new_tokens"],
        temperature=law.temperature,
        top_k=law.top_k,
        top_p=law.top_p,
        min_p=law.min_p,
    )
    setup = setup_of(cascade)
    heads = [head.name for head in pipeline.heads]
    known = known_of(pipeline.shelf, setup, measurements)
    expected = Estimator(pipeline.shelf.catalog.models, known, law).tried(pipeline.models, heads)
    if graphs := cascade.graphs_for(LONGEST):
        with bar(graphs, "recording") as told:
            longest = max(map(len, ids)) + options["max_new_tokens"]
            cascade.warm_up(longest, max_draft=LONGEST, told=lambda: told(""))
    found = tune(cascade, ids, sampling, expected=expected, repeats=options["repeats"], bar=bar)
    facts = machine(cascade.models[-1].device)
    facts |= {
        "prompts": [one.name for one in prompts],
        "max_new_tokens": options["max_new_tokens"],
        "repeats": options["repeats"],
        "begun": "plan" if expected else "grid",
    }
    kept = Measurement(
        kind="lengths",
        subject=lengths_subject(pipeline.models, heads),
        setup=setup,
        law=law.key,
        fingerprint=fingerprint(pipeline.shelf, pipeline.models, heads),
        measured_at=datetime.now(UTC),
        document=found.to_json(),
        provenance=facts,
    )
    return found, setup, note_measurements([kept])
