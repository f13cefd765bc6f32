"""A process that unpickles for us, and the pipes to it. It is fed, waited for, bounded and ended here."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final

from heads import unpickler
from registry.errors import UsageError
from registry.files.strictjson import StrictJSONError, parse_json, shown

PROGRAM: Final = Path(unpickler.__file__)
MAX_ANSWER_BYTES: Final = 1 << 20
LENGTH_BYTES: Final = 8
GRACE_S: Final = 1.0  # the process has a clock of its own, which is to ring first
# What starting needs, and no more: where shared libraries and Windows' own lie. No token, no proxy, no home.
PASSED_ON: Final = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "PATH")
THREADS: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
READY: Final = b"ready\n"


class WorkerFailed(Exception):  # noqa: N818 - what became of a process, not an error that leaves this package
    """The process did not answer as it should. Its text says how."""


class Worker:
    """`heads.unpickler`, started and ready.

    Raises:
        UsageError: it did not start.
    """

    def __init__(self, *, start_s: float) -> None:
        self._out_of_time = False
        self._stack = contextlib.ExitStack()
        try:
            self._process = self._start()
            with self._watched(start_s):
                ready = self._stdout.read(len(READY))
            if ready != READY:
                raise UsageError(
                    f"The converter of pickles did not start: {self._reason(start_s)}. Nothing was converted. "
                    "Check that this Python imports torch, or ask for the head as safetensors."
                )
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Of the process that was started; it may have forks."""
        return self._process.pid

    def ask(
        self, request: Mapping[str, object], content: bytes, *, wall_s: float, most_bytes: int
    ) -> tuple[dict[str, Any], bytes]:
        """Hand over a request and a file, and read what comes back.

        Args:
            request: As `heads.unpickler` reads it.
            content: The file.
            wall_s: Seconds by the clock after which the process is killed.
            most_bytes: The longest file that is read from it.

        Returns:
            The answer, an object of which nothing is known but that it is for this request, and a file.

        Raises:
            WorkerFailed: it ended, ran out of time, or did not keep to the form.
        """
        nonce = secrets.token_hex(16)
        text = json.dumps({**request, "nonce": nonce, "size_bytes": len(content)}).encode()
        with self._watched(wall_s + GRACE_S):
            try:
                self._stdin.write(b"\n" + len(text).to_bytes(LENGTH_BYTES, "little") + text)
                self._stdin.write(content)
                self._stdin.flush()
                return self._answer(nonce, most_bytes)
            except (EOFError, BrokenPipeError) as error:
                raise WorkerFailed(self._reason(wall_s)) from error

    def close(self) -> None:
        """End the process and all that it started."""
        self._stack.close()

    def _start(self) -> subprocess.Popen[bytes]:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="specreg-convert-")))
        folder.chmod(0o555)  # to stand in, not to write to, whoever it becomes
        self._stderr = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        paths = [entry for entry in sys.path if Path(entry).is_absolute()]
        process = subprocess.Popen(  # noqa: S603 - this interpreter and a file of this package
            [sys.executable, "-I", str(PROGRAM), json.dumps(paths)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            cwd=folder,
            env=environment | dict.fromkeys(THREADS, "1"),
            start_new_session=True,
        )
        self._stack.callback(_end, process)
        if process.stdin is None or process.stdout is None:
            raise TypeError("a process started with pipes has pipes")
        self._stdin, self._stdout = process.stdin, process.stdout
        return process

    def _answer(self, nonce: str, most_bytes: int) -> tuple[dict[str, Any], bytes]:
        length = int.from_bytes(self._exactly(LENGTH_BYTES), "little")
        if length > MAX_ANSWER_BYTES:
            raise WorkerFailed(f"an answer of {length} bytes, more than {MAX_ANSWER_BYTES}")
        try:
            answer = parse_json(self._exactly(length), floats=False)
        except StrictJSONError as error:
            raise WorkerFailed(f"an answer that is no answer: {error}") from error
        if not isinstance(answer, dict) or answer.get("nonce") != nonce:
            raise WorkerFailed("an answer that is not to this request")
        size = answer.get("size_bytes")
        if type(size) is not int or not 0 <= size <= most_bytes:
            raise WorkerFailed(f"a file of {shown(size)} bytes, expected at most {most_bytes}")
        return answer, self._exactly(size)

    def _exactly(self, count: int) -> bytes:
        content = self._stdout.read(count)
        if len(content) != count:
            raise EOFError
        return content

    @contextlib.contextmanager
    def _watched(self, seconds: float) -> Iterator[None]:
        """Kill the process when the block takes longer: whoever waits for it then sees its pipes end."""
        timer = threading.Timer(seconds, self._time_is_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _time_is_up(self) -> None:
        self._out_of_time = True
        _kill(self._process)

    def _reason(self, wall_s: float) -> str:
        """Why it ended, in words."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=GRACE_S)
        code = self._process.returncode
        if self._out_of_time or _is_signal(code, "SIGALRM"):
            return f"it took longer than {wall_s:g} s"
        if _is_signal(code, "SIGXCPU"):
            return "it took more processor time than a head of this size needs"
        if code == unpickler.NO_MEMORY:
            return "it took more memory than a head of this size needs"
        if _is_signal(code, "SIGKILL"):
            return "its process was killed, by someone or for want of memory"
        names = [name.name for name in signal.Signals if _is_signal(code, name.name)]
        end = f"signal {names[0]}" if names else f"code {code}"
        return f"its process ended with {end}{self._last_words()}"

    def _last_words(self) -> str:
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - 4096))
        lines = self._stderr.read(4096).decode("utf-8", "replace").strip().splitlines()
        return f": {shown(lines[-1], 200)}" if lines else ""


def _is_signal(code: int | None, name: str) -> bool:
    number = getattr(signal, name, None)
    return number is not None and code in {-number, unpickler.SIGNALLED + number}


def _end(process: subprocess.Popen[bytes]) -> None:
    _kill(process)
    process.wait()
    for stream in (process.stdin, process.stdout):
        _shut(stream)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)


def _shut(stream: IO[bytes] | None) -> None:
    with contextlib.suppress(BrokenPipeError):  # what was not yet written has nobody left to read it
        if stream is not None:
            stream.close()
