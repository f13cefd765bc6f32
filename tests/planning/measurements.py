"""Measurements as `specreg measure` would store them, of models that nobody has."""

from __future__ import annotations

import platform
from datetime import UTC, datetime

from registry.planning.measured import edge_subject, target_subject, trace_subject
from registry.planning.measurement import Kind, Measurement
from registry.planning.setup import Setup
from registry.planning.timing import EdgeTimes, ForwardTime, ForwardTimes
from registry.planning.trace import EdgeTrace, TextTrace
from registry.records import Record

HERE = Setup(host=platform.node(), device="cpu", processor="one", threads=1, dtype="float32", engine="eager")
BOTH = {"greedy": 0.0, "sampled": 0.0}
SAME = "same"


def fingerprinted(models: object, heads: object) -> str:
    """Checkpoints that never change."""
    del models, heads
    return SAME


def stored(
    kind: Kind, subject: str, record: Record, *, law: str = "", setup: Setup = HERE, fingerprint: str = SAME
) -> Measurement:
    """One of them."""
    return Measurement(
        kind=kind,
        subject=subject,
        setup=setup,
        law=law,
        fingerprint=fingerprint,
        measured_at=datetime(2026, 1, 2, tzinfo=UTC),
        document=record.model_dump(mode="json"),
        provenance={},
    )


def timed(
    model: str,
    seconds: float,
    *,
    outside: float = 0.0,
    ahead: float | None = None,
    setup: Setup = HERE,
    fingerprint: str = SAME,
) -> list[Measurement]:
    """Forwards that take the same for any length, in both roles, and steps ahead of the host where there are any."""
    times = tuple(
        ForwardTime(query=query, cached=cached, seconds=seconds) for query in (1, 16) for cached in (0, 64)
    )
    return [
        stored(
            "forwards",
            target_subject(model) if as_target else model,
            ForwardTimes(
                model=model,
                as_target=as_target,
                times=times,
                outside=dict.fromkeys(BOTH, outside),
                ahead={} if as_target or ahead is None else dict.fromkeys(BOTH, ahead),
            ),
            setup=setup,
            fingerprint=fingerprint,
        )
        for as_target in (False, True)
    ]


def edged(
    source: str,
    target: str,
    share: float,
    *,
    text_of: str | None = None,
    law: str = "greedy",
    head: str | None = None,
    setup: Setup = HERE,
    tokens: int = 400,
) -> list[Measurement]:
    """An edge that keeps every token with one probability."""
    along = text_of or target
    text = TextTrace(
        prompt_tokens=8,
        kept=(share,) * tokens,
        kept_otherwise=(share,) * tokens,
        foreseen_kept=(0.9,) * tokens if head else (),
        foreseen_refused=(0.1,) * tokens if head else (),
    )
    trace = EdgeTrace(
        source=source,
        target=target,
        text_of=along,
        texts_key=f"texts of {along}",
        head_name=head,
        acceptance=share,
        texts=(text,),
    )
    return [
        stored(
            "rounds",
            edge_subject(source, target),
            EdgeTimes(source=source, target=target, verify=BOTH),
            setup=setup,
        ),
        stored("trace", trace_subject(source, target, along), trace, law=law, setup=setup),
    ]
