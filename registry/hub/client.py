"""The only room with a window to the network: the Hub, spoken to through its own client.

Every request of the client goes over the wire of `registry.hub.wire`, of all threads at once. Files come over
HTTP: the Xet library, where it is installed, would fetch them past the wire with time-outs of its own, and is
switched off meanwhile. What was fetched is not trusted: whoever asked for it hashes it.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

from registry.hub.refusals import require_address

# The client takes HF_ENDPOINT apart while it is imported, and breaks on what is no address.
require_address(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")

from huggingface_hub import (  # noqa: E402
    HfApi,
    constants,
    get_hf_file_metadata,
    get_token,
    hf_hub_download,
    hf_hub_url,
    is_offline_mode,
    set_client_factory,
)
from huggingface_hub.errors import FileMetadataError  # noqa: E402
from huggingface_hub.file_download import http_get  # noqa: E402
from huggingface_hub.hf_api import RepoFile  # noqa: E402
from huggingface_hub.utils import _http as client_room  # noqa: E402
from huggingface_hub.utils import build_hf_headers, paginate, tqdm  # type: ignore[attr-defined]  # noqa: E402

from registry.errors import HubError  # noqa: E402
from registry.hub.leftover import Leftover  # noqa: E402
from registry.hub.listing import RemoteFile, remote_file  # noqa: E402
from registry.hub.turns import turn  # noqa: E402
from registry.hub.wire import Wire, http  # noqa: E402

__all__ = ["Hub", "RemoteFile"]

MAX_LISTED: Final = 10_000
MAX_TREE: Final = 100_000
MAX_HISTORY: Final = 1_000

# The client's constants, while a window is open.
_MANNERS: Final[dict[str, Any]] = {
    "HF_HUB_DISABLE_XET": True,
    "HF_HUB_DISABLE_TELEMETRY": True,  # it would ask the Hub for a list of programs to tell which one this is
    "DOWNLOAD_CHUNK_SIZE": 1 << 20,  # what came in whole chunks is on disk, and need not come again
}
_AT_MOST: Final = frozenset({"DOWNLOAD_CHUNK_SIZE"})
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TOKEN = re.compile(r"[\x21-\x7e]*")
_CLIENT_LOG = logging.getLogger("huggingface_hub")
_ONE_AT_A_TIME = threading.Lock()  # the client's settings are the whole process's


class Hub:
    """An open window: a context within which the client keeps to our manners, in as many threads as like.

    Args:
        cache: The Hub's cache on this machine.
        endpoint: Where the Hub is; as the client has it (HF_ENDPOINT) when None.
        timeout_s: Seconds without a byte after which a question is given up.
        bars: Whether the client may show its progress bars; it does on a terminal only.
    """

    def __init__(
        self, *, cache: Path, endpoint: str | None = None, timeout_s: float = 60.0, bars: bool = True
    ) -> None:
        self.endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        self.cache = cache
        self._bars = tqdm if bars else _NoBar
        self._wire = Wire(self.endpoint, timeout_s)
        self._api = HfApi(endpoint=self.endpoint)

    def __enter__(self) -> Hub:
        if is_offline_mode():
            raise self._wire.error("offline")
        require_address(self.endpoint)
        try:
            token = get_token() or ""
        except (OSError, ValueError) as error:
            problem = getattr(error, "strerror", None) or type(error).__name__
            raise self._wire.error("unsendable", problem=problem) from error
        if not _TOKEN.fullmatch(token):
            raise self._wire.error("unsendable")
        _ONE_AT_A_TIME.acquire()
        self._before = client_room._GLOBAL_CLIENT_FACTORY, _CLIENT_LOG.level
        # The wire goes round the client that was set before: its proxies and certificates stay.
        set_client_factory(partial(self._wire.around, self._before[0]))
        _CLIENT_LOG.setLevel(logging.ERROR)  # its warnings hold whole addresses, signatures included
        self._constants = {name: getattr(constants, name) for name in _MANNERS}
        for name, value in _MANNERS.items():
            setattr(constants, name, min(value, self._constants[name]) if name in _AT_MOST else value)
        return self

    def __exit__(self, *_: object) -> None:
        set_client_factory(self._before[0])
        _CLIENT_LOG.setLevel(self._before[1])
        for name, value in self._constants.items():
            setattr(constants, name, value)
        _ONE_AT_A_TIME.release()

    def stop(self) -> None:
        """End all transfers of all threads now."""
        self._wire.stop()

    def commit_of(self, repo: str, revision: str) -> str:
        """The commit a branch or tag stands at now: asked, never remembered.

        Raises:
            HubError: it could not be asked, or there is no such repository or revision.
        """
        with self._asking(repo, revision), self._reading():
            sha = self._api.model_info(repo, revision=revision).sha
            if not isinstance(sha, str) or not _COMMIT.fullmatch(sha):
                raise ValueError("a commit of 40 hex digits was due")
        return sha

    def files_by_name(self, repo: str, commit: str, folder: str) -> dict[str, RemoteFile]:
        """`files_in` by name; none where there is no such folder."""
        try:
            return {file.name: file for file in self.files_in(repo, commit, folder)}
        except HubError as error:
            if error.reason == "file":
                return {}
            raise

    def files_in(self, repo: str, commit: str, folder: str = "") -> tuple[RemoteFile, ...]:
        """The files that lie directly in one folder of a repository; in its root when `folder` is empty.

        Raises:
            HubError: it could not be asked, there is no such folder, or the listing makes no sense.
        """
        prefix = f"{folder}/" if folder else ""
        files: list[RemoteFile] = []
        with self._asking(repo, commit, folder or "its root folder"), self._reading():
            rows = self._api.list_repo_tree(repo, folder or None, revision=commit)
            for count, row in enumerate(rows):
                if count >= MAX_LISTED:
                    raise ValueError(f"more than {MAX_LISTED} entries")
                if isinstance(row, RepoFile) and row.path.startswith(prefix):
                    files.append(remote_file(row, row.path[len(prefix) :]))
        return tuple(files)

    def files_under(self, repo: str, commit: str) -> tuple[RemoteFile, ...]:
        """Every file of a repository, however deep, named from its root. Names are judged by the caller.

        Raises:
            HubError: it could not be asked, or the listing makes no sense, more than MAX_TREE entries included.
        """
        files: list[RemoteFile] = []
        with self._asking(repo, commit, "its files"), self._reading():
            rows = self._api.list_repo_tree(repo, revision=commit, recursive=True)
            for count, row in enumerate(rows):
                if count >= MAX_TREE:
                    raise ValueError(f"more than {MAX_TREE} entries")
                if isinstance(row, RepoFile):
                    files.append(remote_file(row, row.path))
        return tuple(files)

    def history(self, repo: str, commit: str) -> frozenset[str] | None:
        """The commits that led to one, itself among them; None where the Hub does not tell of all of them.

        Raises:
            HubError: it could not be asked, or the listing makes no sense.
        """
        url = f"{self.endpoint}/api/models/{repo}/commits/{commit}"
        with self._asking(repo, commit), self._reading():
            rows = paginate(url, params={"limit": MAX_HISTORY}, headers=build_hf_headers())
            found = [row["id"] for row in islice(rows, MAX_HISTORY + 1)]
        whole = self._wire.total() == len(found) and found[:1] == [commit]
        return frozenset(found) if whole else None

    def has(self, repo: str, commit: str, path: str) -> bool:
        """Whether the Hub serves this file, whatever its listing says."""
        try:
            self.etag_of(repo, commit, path)
        except HubError as error:
            if error.reason == "file":
                return False
            raise
        return True

    def etag_of(self, repo: str, commit: str, path: str) -> str:
        """The name the cache would give this file's content; a plain word, so that it stays in the cache.

        Raises:
            HubError: as for `fetch`; an ETag that is no plain word, or another commit than the one asked for.
        """
        url = hf_hub_url(repo, path, revision=commit, endpoint=self.endpoint)
        with self._asking(repo, commit, path):
            found = get_hf_file_metadata(url, endpoint=self.endpoint)
            if found.etag is None or found.commit_hash is None:
                raise self._wire.error("answer", problem="neither an ETag nor a commit came with the file")
        return found.etag

    def fetch(self, repo: str, commit: str, path: str) -> Path:
        """One file into the cache, unless it is there; its path in the snapshot. It is not checked.

        Args:
            repo: `org/name`.
            commit: 40 hex digits.
            path: The exact name of the file in the repository.

        Raises:
            HubError: it could not be fetched; `reason` tells why.
        """
        with self._asking(repo, commit, path):
            return Path(
                hf_hub_download(
                    repo,
                    path,
                    revision=commit,
                    cache_dir=self.cache,
                    endpoint=self.endpoint,
                    tqdm_class=self._bars,
                )
            )

    def stage(
        self,
        repo: str,
        commit: str,
        path: str,
        *,
        leftover: Leftover,
        again: bool = False,
        meter: Callable[[int], None] | None = None,
    ) -> Path:
        """The rest of one file, added to what is here of it; the path of the whole. It is not checked.

        What this transfer brings, should it break off, is kept for the next.

        Args:
            repo, commit, path: As for `fetch`.
            leftover: What an earlier transfer left; nobody else uses it meanwhile.
            again: This thread asked for it just now, and it broke off: no new time-out begins.
            meter: Told of the bytes that are here already, unless `again`, and of others as they come; fewer than
                none when some have to come again.

        Raises:
            HubError: it could not be fetched; `reason` tells why.
        """
        url = hf_hub_url(repo, path, revision=commit, endpoint=self.endpoint)
        with self._asking(repo, commit, path, again=again):
            found = get_hf_file_metadata(url, endpoint=self.endpoint)
            headers = build_hf_headers()
            if not self._wire.trusts(found.location):  # storage elsewhere, with a signature in its address
                headers.pop("authorization", None)
            with leftover.opened(found.size) as stream:
                begun = stream.tell()
                if meter is not None and not again:
                    meter(begun)
                http_get(
                    found.location,
                    stream,
                    resume_size=begun,
                    headers=headers,
                    expected_size=found.size,
                    tqdm_class=self._bar(meter),
                )
        return leftover.path

    def _bar(self, meter: Callable[[int], None] | None) -> Any:
        return self._bars if meter is None else type("_Meter", (_NoBar,), {"told": staticmethod(meter)})

    def pause(self, seconds: float) -> None:
        """Wait, unless all is to be stopped."""
        self._wire.pause(seconds)

    @contextmanager
    def alone(self, path: Path, *, watch: Path, repo: str, what: str) -> Iterator[None]:
        """Hold the file lock at `path`; waits for another process as long as that one gets on.

        Args:
            path: The lock's file.
            watch: The folder where whoever holds the lock writes what comes.
            repo, what: What is fetched, for messages.

        Raises:
            HubError: the other process got nowhere for `timeout_s`, or the lock cannot be made.
        """
        with ExitStack() as stack:
            with self._asking(repo, "", what):
                path.parent.mkdir(parents=True, exist_ok=True)
                try:
                    lock = turn(
                        path,
                        watch=watch,
                        timeout_s=self._wire.timeout_s,
                        looking=partial(self._wire.pause, 0.0),
                    )
                except TimeoutError as error:
                    raise self._wire.error("held") from error
                stack.push(lock)
            yield

    @contextmanager
    def _asking(self, repo: str, revision: str, path: str = "", *, again: bool = False) -> Iterator[None]:
        """Name what is asked for, and turn the client's own errors into sentences."""
        self._wire.begin(repo, revision, path, again=again)
        try:
            yield
        except http.HTTPError as error:
            raise self._wire.error("broken", problem=type(error).__name__) from error
        except http.InvalidURL as error:  # it may repeat the address, password included
            raise self._wire.error("unreachable", problem="its address cannot be used") from error
        except FileMetadataError as error:
            raise self._wire.error("answer", problem="the headers of a Hub file were missing") from error
        except OSError as error:
            if error.errno is None:  # how the client tells that fewer bytes came than were promised
                raise self._wire.error("broken", problem="fewer bytes came than were due") from error
            raise self._wire.error("disk", problem=error.strerror or str(error)) from error
        except (RuntimeError, ValueError) as error:  # the Xet library's own, and what the client will not do
            raise self._wire.error("broken", problem=str(error).partition("\n")[0][:120]) from error

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """The client builds its records of whatever JSON came: what fails there is the answer's fault."""
        try:
            yield
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._wire.error("answer", problem=f"it cannot be read ({type(error).__name__})") from error


class _NoBar(tqdm):  # type: ignore[type-arg,misc,unused-ignore]
    """The client's progress bar, never shown; `told` hears of the bytes instead."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "disable": True})  # type: ignore[no-untyped-call]

    @staticmethod
    def told(count: int) -> None:
        """Nobody asked."""

    def update(self, n: float | None = 1) -> bool | None:
        """So many bytes came."""
        type(self).told(int(n or 0))
        return None
