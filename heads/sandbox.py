"""Where pickles are unpickled: a process with limits, and a parent that believes nothing it says.

The process is `heads.unpickler`, run by this interpreter, with no environment but what starting needs, no open
file but its pipes, and an empty folder to stand in; what it gives up besides is told in `heads.confinement`.
It hands back the bytes of a safetensors file, which are judged here as any stranger's would be, and the digest
of every tensor as it was unpickled, with which those bytes are compared.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from heads import unpickler
from heads.stored import judged
from heads.worker import Worker, WorkerFailed
from registry.errors import CheckpointError
from registry.files.layout import HeadConfig, expected_shapes
from registry.files.strictjson import shown
from registry.files.tensorfile import PREFIX_BYTES, TensorFile

MAX_PROBLEMS: Final = 16
MAX_PROBLEM_LENGTH: Final = 400


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one pickle may take; a second more for every `bytes_per_s` of it, and three times its own memory.

    `start_s` is for the start of the process, before it is handed anything.
    """

    start_s: float = 60.0
    wall_s: int = 5
    cpu_s: int = 3
    memory_bytes: int = 256 << 20
    bytes_per_s: int = 50 << 20

    def of(self, size_bytes: int) -> dict[str, int]:
        """The limits for a pickle of that size, as the process is told them."""
        more = size_bytes // self.bytes_per_s
        return {
            "wall_s": self.wall_s + 2 * more,
            "cpu_s": self.cpu_s + more,
            "memory_bytes": self.memory_bytes + 3 * size_bytes,
        }


class Sandbox:
    """Converts pickles one after another, each in a process of its own; in a `with` statement.

    What takes longest, loading torch, is done once, by the process that all of them are forks of, and only
    when the first pickle comes.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._worker: Worker | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        return None if self._worker is None else self._worker.pid

    def start(self) -> Worker:
        """Start the process, where it is not up already; `convert` does so by itself.

        Raises:
            UsageError: it did not start.
        """
        if self._worker is None:
            self._worker = Worker(start_s=self._limits.start_s)
        return self._worker

    def convert(self, pickle: bytes, config: HeadConfig, *, file: str) -> bytes:
        """The safetensors file that holds what a pickle holds, bit for bit; a shared block is stored once.

        Args:
            pickle: The content of pytorch_model.bin.
            config: What its config.json says.
            file: What messages call it.

        Raises:
            CheckpointError: it is not the pickle of such a head, or took too much time or memory, or the process
                did not answer as it should; `problems` tells which.
            UsageError: the process did not start.
        """
        try:
            answer, weights = self._ask(pickle, config)
            if "problems" not in answer:
                _check(answer.get("tensors"), weights, config, file)
        except WorkerFailed as error:
            self.close()
            raise _refused(file, [f"while it was read, {error}"]) from error
        except BaseException:  # a process that hands over what is unsound is not asked again
            self.close()
            raise
        if not unpickler.FORKS:
            self.close()
        if "problems" in answer:
            raise _refused(file, _problems(answer["problems"]))
        return weights

    def _ask(self, pickle: bytes, config: HeadConfig) -> tuple[dict[str, Any], bytes]:
        limits = self._limits.of(len(pickle))
        return self.start().ask(
            {**limits, "shapes": expected_shapes(config)},
            pickle,
            wall_s=limits["wall_s"],
            most_bytes=len(pickle) + PREFIX_BYTES,
        )

    def close(self) -> None:
        """End the process; the next pickle gets another."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()


def _refused(file: str, problems: list[str]) -> CheckpointError:
    """The error that says why a pickle was not converted."""
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return CheckpointError(
        f"{file} is not the pickle of an acceptance head: {problems[0]}{more}. Nothing was converted. "
        "Download it again, ask for it as safetensors, or save its state dict anew with today's torch.save.",
        path=file,
        problems=problems,
    )


def _problems(told: object) -> list[str]:
    """What the process says is wrong: some printable lines, whatever it sent."""
    lines = [line for line in told if isinstance(line, str)] if isinstance(told, list) else []
    printable = ["".join(c if c.isprintable() else "?" for c in line) for line in lines[:MAX_PROBLEMS]]
    return [line[:MAX_PROBLEM_LENGTH] for line in printable] or ["it was refused, and no reason given"]


def _check(told: object, weights: bytes, config: HeadConfig, file: str) -> None:
    """What came back is a head's file, and holds every tensor bit for bit as it was unpickled.

    Raises:
        CheckpointError: it is not, or does not.
    """
    try:
        header, names = judged(weights, config, file=file)
    except CheckpointError as error:
        raise _refused(file, list(error.problems)) from error
    found = {name: _facts(header, kept) for name, kept in names.items()}
    if told != found:
        wrong = [name for name in found if not isinstance(told, dict) or told.get(name) != found[name]]
        raise _refused(file, [f"{shown(name)} did not come over bit for bit" for name in wrong or found])


def _facts(header: TensorFile, name: str) -> list[object]:
    info = header.tensors[name]
    digest = hashlib.sha256(header.view(name).reshape(-1).view("u1").data).hexdigest()
    return [info.dtype, list(info.shape), digest]
