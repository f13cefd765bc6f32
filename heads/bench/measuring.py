"""The measuring itself: every system on every prompt, taken in turns, each result kept as soon as it is there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self, TextIO

from heads.bench.systems import Run, Sampling, System
from heads.generation import LevelReport
from registry.errors import UsageError

WARM_UP_TOKENS: Final = 16


@dataclass(frozen=True, kw_only=True)
class Row:
    """One run: which system, which prompt, which time around."""

    mode: str
    prompt: int
    repeat: int
    run: Run


class Journal:
    """The rows so far and the lengths that were swept, in a file that a run which was broken off goes on with.

    Args:
        path: The file, or None to keep nothing. Its first line says what is being measured.
        plan: That line: rows of another plan are not gone on with.

    The file stays when the journal is closed: who has written the report removes it.

    Raises:
        UsageError: the file is of another plan, or cannot be read or written.
    """

    def __init__(self, path: Path | None, plan: dict[str, Any]) -> None:
        self.rows: list[Row] = []
        self.settings: dict[str, dict[str, Any]] = {}
        self._file: TextIO | None = None
        if path is None:
            return
        try:
            if path.exists():
                self._take_up(path, plan)
            self._file = path.open("a", encoding="utf-8")
            if path.stat().st_size == 0:
                self._write(plan)
        except OSError as error:
            raise UsageError(f"{path} cannot be used: {error.strerror}. Name another file.") from error

    def add(self, row: Row) -> None:
        """Keep one row more."""
        self.rows.append(row)
        self._write(asdict(row))

    def settle(self, mode: str, settings: dict[str, Any]) -> None:
        """Keep what a sweep found, so that a run that goes on measures the same system."""
        self.settings[mode] = settings
        self._write({"mode": mode, "settings": settings})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _write(self, value: object) -> None:
        if self._file is not None:
            self._file.write(json.dumps(value) + "\n")
            self._file.flush()

    def _take_up(self, path: Path, plan: dict[str, Any]) -> None:
        try:
            text = path.read_text(encoding="utf-8")
            whole = text[: text.rfind("\n") + 1]  # a line that was cut off is measured again
            lines = whole.splitlines()
            if lines and json.loads(lines[0]) != json.loads(json.dumps(plan)):
                raise UsageError(
                    f"{path} was begun with other prompts, checkpoints, options or versions. Remove it, or name "
                    "another file."
                )
            for found in map(json.loads, lines[1:]):
                if "settings" in found:
                    self.settings[found["mode"]] = found["settings"]
                else:
                    self.rows.append(_row(found))
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path} is no journal of a benchmark: {error}. Remove it.") from error
        path.write_text(whole, encoding="utf-8")


def measure(
    systems: Sequence[System],
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    journal: Journal,
    *,
    repeats: int,
    told: Callable[[str], None] = lambda _: None,
) -> None:
    """Run what the journal lacks. Systems take turns on each prompt, in another order each time."""
    done = {(row.mode, row.prompt, row.repeat) for row in journal.rows}
    warm: set[str] = set()
    for system, prompt, repeat in _turns(systems, len(prompts), repeats):
        if (system.mode, prompt, repeat) in done:
            told(system.mode)
            continue
        if system.mode not in warm:
            short = Sampling(
                **{**asdict(sampling), "max_new_tokens": min(WARM_UP_TOKENS, sampling.max_new_tokens)}
            )
            system.run(prompts[prompt], short, seed=0)
            warm.add(system.mode)
        run = system.run(prompts[prompt], sampling, seed=1000 * repeat + prompt)
        journal.add(Row(mode=system.mode, prompt=prompt, repeat=repeat, run=run))
        told(system.mode)


def _turns(systems: Sequence[System], prompts: int, repeats: int) -> Iterator[tuple[System, int, int]]:
    for repeat in range(repeats):
        for prompt in range(prompts):
            first = (repeat + prompt) % len(systems)
            for system in (*systems[first:], *systems[:first]):
                yield system, prompt, repeat


def _row(found: dict[str, Any]) -> Row:
    run = found["run"]
    levels = tuple(
        LevelReport(
            **{
                **level,
                "proposed_at": tuple(level["proposed_at"]),
                "accepted_at": tuple(level["accepted_at"]),
            }
        )
        for level in run["levels"]
    )
    return Row(
        mode=found["mode"],
        prompt=found["prompt"],
        repeat=found["repeat"],
        run=Run(token_ids=run["token_ids"], seconds=run["seconds"], levels=levels),
    )
