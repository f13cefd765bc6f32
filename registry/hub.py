"""The only room with a window to the network: the Hub, spoken to through its own client.

The client leaves much open, and `_Wire` settles it for every request that the client makes: time-outs, how
often a request is made again, where a token may go, what an answer must be like before anything is made of
it, and one sentence for each way to fail. What was fetched is not trusted: whoever asked for it hashes it.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from huggingface_hub import (
    HfApi,
    constants,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    is_offline_mode,
    set_client_factory,
)
from huggingface_hub.errors import FileMetadataError, HfHubHTTPError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import WeakFileLock, tqdm  # type: ignore[attr-defined]
from huggingface_hub.utils import _http as client_room

from registry.errors import HubError, HubReason

BACKOFF_S: tuple[float, ...] = (1.0, 2.0, 4.0)
CONNECT_S: Final = 20.0
RECORD_LOCK_S: Final = 60.0
MAX_LISTED: Final = 10_000
SAME_PLACE: Final = 3

_BUSY: Final = frozenset({408, 429, 500, 502, 503, 504})
_TOKEN_HOSTS: Final = frozenset({"huggingface.co", "hf.co"})
_ETAG = re.compile(r'(?:W/)?"?([A-Za-z0-9_-]{1,128})"?')
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CLIENT_LOG = logging.getLogger("huggingface_hub")
_ONE_AT_A_TIME = threading.Lock()  # the client's HTTP settings are the whole process's

# The HTTP library under the client goes by one name in one release of it and by another in the next.
_http: Any = import_module(HfHubHTTPError.__mro__[1].__module__.partition(".")[0])


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file as the Hub lists it: its name in the folder asked for, and at least one digest of its bytes.

    `git_sha1` is that of git's blob: a header with the size, then the bytes. LFS files have a sha256 instead.
    """

    name: str
    size_bytes: int
    sha256: str | None = None
    git_sha1: str | None = None


class Hub:
    """An open window: a context within which the client keeps to our manners.

    Args:
        endpoint: Where the Hub is; as the client has it (HF_ENDPOINT) when None.
        cache: The Hub's cache on this machine.
        timeout_s: Seconds without a byte after which a request is given up.
        bars: Whether the client may show its progress bars; it does on a terminal only.
    """

    def __init__(
        self, *, cache: Path, endpoint: str | None = None, timeout_s: float = 60.0, bars: bool = True
    ) -> None:
        self.endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        self.cache = cache
        self._bars = tqdm if bars else _NoBar
        self._wire = _Wire(self.endpoint, timeout_s)
        self._api = HfApi(endpoint=self.endpoint)

    def __enter__(self) -> Hub:
        if is_offline_mode():
            raise self._wire.error("offline")
        if urlsplit(self.endpoint).scheme not in ("http", "https"):
            raise self._wire.error("answer", problem="its address is no http(s) address")
        _ONE_AT_A_TIME.acquire()
        self._before = client_room._GLOBAL_CLIENT_FACTORY, _CLIENT_LOG.level
        # The wire goes round the client that was set before: its proxies and certificates stay.
        set_client_factory(partial(self._wire.around, self._before[0]))
        _CLIENT_LOG.setLevel(logging.ERROR)  # its warnings hold whole addresses, signatures included
        return self

    def __exit__(self, *_: object) -> None:
        set_client_factory(self._before[0])
        _CLIENT_LOG.setLevel(self._before[1])
        _ONE_AT_A_TIME.release()

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
                    files.append(_remote_file(row, row.path[len(prefix) :]))
        return tuple(files)

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

    def fetch(self, repo: str, commit: str, path: str, *, force: bool = False) -> Path:
        """One file into the Hub's cache, unless it is there; its path in the snapshot. It is not checked.

        Args:
            repo: `org/name`.
            commit: 40 hex digits.
            path: The exact name of the file in the repository.
            force: Fetch it though the cache holds it.

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
                    force_download=force,
                    tqdm_class=self._bars,
                )
            )

    @contextmanager
    def _asking(self, repo: str, revision: str, path: str = "") -> Iterator[None]:
        """Name what is asked for, and turn the client's own errors into sentences."""
        self._wire.begin(repo, revision, path)
        try:
            yield
        except _http.HTTPError as error:
            raise self._wire.error("broken", problem=type(error).__name__) from error
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


def held(path: Path) -> AbstractContextManager[object]:
    """Hold the file lock at `path`, which other processes wait for, for as long as the context lasts."""
    return WeakFileLock(path, timeout=RECORD_LOCK_S)


class _NoBar(tqdm):  # type: ignore[type-arg,misc,unused-ignore]
    """The client's progress bar, never shown."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "disable": True})  # type: ignore[no-untyped-call]


class _Wire:
    """Every request of the client goes through `send`; what is asked for is told by `begin`."""

    def __init__(self, endpoint: str, timeout_s: float) -> None:
        self.endpoint = endpoint
        self.timeout_s = timeout_s
        self.begin("", "", "")

    def begin(self, repo: str, revision: str, path: str) -> None:
        """What the next requests are about."""
        self.repo, self.revision, self.path = repo, revision, path
        self._starts: dict[tuple[str, str], list[float]] = {}
        self._anew = 0

    def around(self, make: Any) -> Any:
        """A client of `make` whose requests all go through `send`."""
        client = make()
        client.send = partial(self.send, client.send)
        return client

    def send(self, inner: Any, request: Any, **options: Any) -> Any:
        """Send one request, again where that may help; return an answer that is fit to be used."""
        self._require_trusted(request)
        self._require_progress(request)
        timeouts = dict.fromkeys(("read", "write", "pool"), self.timeout_s)
        request.extensions |= {"timeout": {**timeouts, "connect": min(self.timeout_s, CONNECT_S)}}
        for pause_s in (*BACKOFF_S, None):
            try:
                response = inner(request, **options)
            except _http.TimeoutException as error:
                raise self.error("timeout") from error
            except (_http.RemoteProtocolError, _http.ReadError, _http.WriteError) as error:
                if pause_s is None:
                    raise self.error("broken", problem=type(error).__name__) from error
                time.sleep(pause_s)
                continue
            except _http.HTTPError as error:
                raise self.error("unreachable", problem=str(error)) from error
            if response.status_code < 400:
                return self._admitted(request, response)
            response.close()
            wait_s = max(pause_s or 0.0, _retry_after_s(response))
            if response.status_code not in _BUSY or pause_s is None or wait_s > self.timeout_s:
                raise self._refused(request, response, wait_s)
            time.sleep(wait_s)
        raise AssertionError("the last round returns or raises")

    def error(self, reason: HubReason, *, problem: str = "", wait_s: float = 0.0) -> HubError:
        """The error for this reason, in one sentence and a next step. It quotes nothing a server wrote."""
        where, repo = re.sub("//[^/]*@", "//", self.endpoint), self.repo  # a password may stand there
        what = f"{self.path} of {repo}" if self.path else repo
        later = f" It asks to wait {wait_s:.0f} s." if wait_s > self.timeout_s else ""
        sentences: dict[HubReason, str] = {
            "offline": "The Hub was not asked, because HF_HUB_OFFLINE is set. Unset it to download.",
            "unreachable": f"{where} cannot be reached: {problem}. "
            "Check the network, the proxy and HF_ENDPOINT.",
            "timeout": f"{where} sent nothing for {self.timeout_s:g} s when asked for {what}. "
            "Try again, or wait longer with --timeout.",
            "broken": f"The transfer of {what} from {where} broke off: {problem}. Try again.",
            "disk": f"{what} could not be written to the Hub's cache: {problem}. "
            "Mend that, or point HF_HOME elsewhere.",
            "answer": f"{where} does not answer as the Hub does, asked for {what}: {problem}. "
            "Check HF_ENDPOINT, and whether a proxy or a sign-in page stands between.",
            "busy": f"{where} turns requests away for now (429).{later} Try again later.",
            "server": f"{where} failed when asked for {what} ({problem}).{later} "
            "The fault is on its side: try again later.",
            "repository": f"{where} shows no repository {repo}: there is none, or it is private. "
            "Check its name in the catalog; for a private one, `hf auth login` first.",
            "revision": f"{repo} has no revision {self.revision}. "
            "Check `revision` in the catalog, and the commit in its lock.",
            "file": f"{repo} has no {self.path} at {self.revision}. "
            "Check its path and revision in the catalog.",
            "gated": f"{repo} is gated. Ask for access at {where}/{repo}, then `hf auth login`.",
            "token": f"{where} does not accept the token it was sent (401). `hf auth login` stores another.",
            "forbidden": f"{where} forbids to read {repo} (403). "
            "Use a token with the right to read it: `hf auth login`.",
        }
        return HubError(sentences[reason], reason=reason, endpoint=where, repo=repo)

    def _refused(self, request: Any, response: Any, wait_s: float) -> HubError:
        status = response.status_code
        known: dict[str, HubReason] = {
            "GatedRepo": "gated",
            "RepoNotFound": "repository",
            "RevisionNotFound": "revision",
            "EntryNotFound": "file",
        }
        by_status: dict[int, HubReason] = {403: "forbidden", 429: "busy"}
        by_status[404] = "file" if self.path else "repository"
        # Without a token 401 stands for all that is private or does not exist.
        by_status[401] = "token" if "authorization" in request.headers else "repository"
        reason = known.get(response.headers.get("X-Error-Code", "")) or by_status.get(status)
        if reason is None:
            reason = "server" if status in _BUSY or status >= 500 else "answer"
        return self.error(reason, problem=f"status {status}", wait_s=wait_s)

    def _require_trusted(self, request: Any) -> None:
        """A next page may be anywhere; the token goes to the endpoint and the public Hub alone."""
        if "authorization" not in request.headers:
            return
        home, there = _http.URL(self.endpoint), request.url
        same = (there.scheme, there.host, there.port) == (home.scheme, home.host, home.port)
        if not same and not (there.scheme == "https" and there.host in _TOKEN_HOSTS):
            raise self.error("answer", problem="it leads elsewhere, and the token was not sent there")

    def _require_progress(self, request: Any) -> None:
        """The client resumes without end: give up where one place was begun at often, or for long."""
        if request.method != "GET":
            return
        begun = self._starts.setdefault((str(request.url), request.headers.get("Range", "")), [])
        begun.append(time.monotonic())
        if len(begun) > 1 and begun[-1] - begun[0] >= self.timeout_s:
            raise self.error("timeout")
        if len(begun) > SAME_PLACE:
            raise self.error("broken", problem=f"{SAME_PLACE} times at the same byte")

    def _admitted(self, request: Any, response: Any) -> Any:
        """The answer, unless its headers would lead the client astray."""
        headers = response.headers
        problem = ""
        if request.url.path.startswith(f"{urlsplit(self.endpoint).path}/api/"):
            if "json" not in headers.get("Content-Type", "").lower():
                problem = "JSON was due, and something else came"
        elif request.method == "HEAD":
            etag = headers.get("X-Linked-Etag") or headers.get("ETag")
            if etag is not None and not _ETAG.fullmatch(etag):
                problem = "its ETag is no plain word"
            elif headers.get("X-Repo-Commit", self.revision) != self.revision:
                problem = f"the file is said to be of another commit than {self.revision}"
        elif "Range" in request.headers and response.status_code == 200:
            self._anew += 1  # the client would go on for ever with a server that knows no ranges
            if self._anew > SAME_PLACE:
                response.close()
                raise self.error("broken", problem=f"it began anew {self._anew} times")
        if problem:
            response.close()
            raise self.error("answer", problem=problem)
        return response


def _remote_file(row: RepoFile, name: str) -> RemoteFile:
    sha256 = None if row.lfs is None else row.lfs.sha256
    size = row.size if row.lfs is None else row.lfs.size
    digest = row.blob_id if sha256 is None else sha256
    if (
        not isinstance(size, int)
        or size < 0
        or not (_COMMIT if sha256 is None else _SHA256).fullmatch(digest)
    ):
        raise ValueError("a size and a digest were due")
    return RemoteFile(
        name=name, size_bytes=size, sha256=sha256, git_sha1=row.blob_id if sha256 is None else None
    )


def _retry_after_s(response: Any) -> float:
    value = response.headers.get("Retry-After", "").strip()
    return float(value) if value.isascii() and value.isdigit() and len(value) < 9 else 0.0
