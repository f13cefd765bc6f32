"""One benchmark of a real chain: what is done before anything is timed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import registry
from heads.bench import benchmark
from heads.bench.benchmark import Benchmark
from heads.bench.prompts import BenchPrompt
from heads.bench.systems import Sampling
from heads.engines import captured, recorded_head
from registry.errors import UsageError
from tests.pipeline.models import folder_model, lock, set_config

PROMPTS = [BenchPrompt(name="one", category="python", text="def add(a, b):\n")]


class Watch:
    """Which bar is open, how far each came, and what is recorded meanwhile."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.steps: dict[str, list[int]] = {}
        self.recorded: dict[str, set[str]] = {}
        self._open = ""
        for room in (captured, recorded_head):
            patch.setattr(room, "record", self._watched(room.__name__, room.record))

    @contextmanager
    def bar(self, total: int, what: str) -> Iterator[Callable[[str], None]]:
        self._open = what
        self.steps[what] = [0, total]

        def told(_: str) -> None:
            self.steps[what][0] += 1

        yield told
        self._open = ""

    def _watched(self, room: str, record: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*given: Any, **named: Any) -> Any:
            self.recorded.setdefault(self._open, set()).add(room.rpartition(".")[2])
            return record(*given, **named)

        return watched


def test_what_is_recorded_is_recorded_before_anything_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Models and heads of every part of the chain that is to be measured, the settings' sweep included.
    """
    watch = Watch(monkeypatch)
    monkeypatch.setattr(benchmark, "MOST_DRAFTED", 4)
    monkeypatch.setattr(benchmark, "advised_candidates", lambda _: [{"threshold": [0.99], "max_draft": [4]}])

    Benchmark(
        prompts=PROMPTS,
        sampling=Sampling(max_new_tokens=12, temperature=1.0),  # greedy, this head is not asked
        modes=["two:heads", "two:tuned"],
        repeats=1,
        advised={"max_draft": 4},
        bar=watch.bar,
    ).run(registry.resolve_pipeline("pico-little", "pico-draft", length=2), device="cpu", engine="captured")

    assert watch.recorded == {"recording": {"captured", "recorded_head"}}
    assert list(watch.steps) == ["recording", "settings for two:tuned", "measuring"]
    assert all(came == total > 0 for came, total in watch.steps.values())


class PowerCutError(Exception):
    """The machine went down."""


def test_models_that_were_trained_on_are_others(tmp_path: Path) -> None:
    """
    A run that was broken off is not gone on with when a checkpoint is another, whatever it is called.
    """
    folder, catalog = folder_model(tmp_path)
    lock(catalog)
    journal = tmp_path / "journal"

    def run(told: Callable[[], None]) -> None:
        @contextmanager
        def bar(_total: int, what: str) -> Iterator[Callable[[str], None]]:
            del what
            yield lambda _: told()

        pipeline = registry.resolve_pipeline("mine", "mine", catalog=catalog)
        Benchmark(
            prompts=PROMPTS,
            sampling=Sampling(max_new_tokens=1),
            modes=[],
            repeats=1,
            journal=journal,
            bar=bar,
        ).run(pipeline, device="cpu")

    def stop() -> None:
        raise PowerCutError

    with pytest.raises(PowerCutError):
        run(stop)
    set_config(folder, rms_norm_eps=1e-3)
    lock(catalog)

    with pytest.raises(UsageError, match="begun with other prompts, checkpoints, options"):
        run(lambda: None)
