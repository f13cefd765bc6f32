"""What every test stands on: no catalog, cache or token of the person who runs it."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from registry.cli import main

settings.register_profile("specreg", deadline=None, derandomize=True)
settings.load_profile("specreg")

FIGURES = pytest.StashKey[list[tuple[int, str]]]()


def pytest_configure(config: pytest.Config) -> None:
    """No promise has shown its figure yet."""
    config.stash[FIGURES] = []


def pytest_collection_finish() -> None:
    """What was imported stays to the end: the collector passes it over, which spares a third of the time in heads."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker hands its figures to the process that prints them."""
    handed_over = getattr(session.config, "workeroutput", None)
    if handed_over is not None:
        handed_over["figures"] = session.config.stash[FIGURES]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """The figures of a worker that has ended; one that died left none."""
    found = getattr(node, "workeroutput", {}).get("figures", [])
    node.config.stash[FIGURES] += [(number, measured) for number, measured in found]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
) -> None:
    """The figures that the promises' tests measured, promise by promise."""
    del exitstatus
    figures = config.stash[FIGURES]
    if figures:
        terminalreporter.section("promises")
    for number, measured in sorted(figures):
        terminalreporter.write_line(f"{number:2}  {measured}")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, empty at its start."""
    home = tmp_path / "home"
    for name in (
        "SPECREG_CATALOG",
        "SPECREG_DATABASE_URL",
        "HF_HUB_CACHE",
        "HF_TOKEN",
        "HF_ENDPOINT",
        "NO_COLOR",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SPECREG_HOME", str(home / "specreg"))
    monkeypatch.setenv("HF_HOME", str(home / "huggingface"))
    return home


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def specreg(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run a command as a shell would, in this process."""

    def run(*arguments: str) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        out, err = capsys.readouterr()
        return Outcome(code=int(ended.value.code or 0), out=out, err=err)

    return run


@pytest.fixture
def small_heap() -> None:
    """The collector passes over what earlier tests left, which would be most of what is timed."""
    gc.collect()
    gc.freeze()
