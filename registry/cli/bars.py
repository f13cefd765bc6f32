"""Progress bars for people: one for each file that is coming, or one for steps that are counted."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any


class Bars:
    """A context within which `told` draws bars on stderr. Many threads may tell at once."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._tasks: dict[str, Any] = {}
        self._adding = threading.Lock()

    def __enter__(self) -> Bars:
        self._progress.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.__exit__(kind, error, trace)

    def told(self, name: str, size_bytes: int, came: int) -> None:
        """So many bytes of a file came; a file's bar goes when it is whole."""
        with self._adding:
            if name not in self._tasks:
                self._tasks[name] = self._progress.add_task(name, total=size_bytes)
        task = self._tasks[name]
        self._progress.advance(task, came)
        if self._progress.tasks[self._progress.task_ids.index(task)].finished:
            self._progress.update(task, visible=False)


@contextmanager
def counted(total: int, what: str) -> Iterator[Callable[[str], None]]:
    """A bar that moves on by one with each call, which names what comes next; on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda step: progress.update(task, advance=1, description=f"{what} {step}".rstrip())
