"""The wire: every request that the Hub's client makes goes out here, and every answer comes in.

It settles what the client leaves open: time-outs, how often a request is made again, where a token may go,
and what an answer must be like before anything is made of it. A question is given up when nothing came for
`timeout_s` seconds, waits between two tries included.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any, Final
from urllib.parse import urlsplit

from huggingface_hub.errors import HfHubHTTPError

from registry.errors import HubError, HubReason
from registry.hub.refusals import Refusal

BACKOFF_S: tuple[float, ...] = (1.0, 2.0, 4.0)
CONNECT_S: Final = 20.0
SAME_PLACE: Final = 3

_BUSY: Final = frozenset({408, 429, 500, 502, 503, 504})
_TOKEN_HOSTS: Final = frozenset({"huggingface.co", "hf.co"})
_ETAG = re.compile(r'(?:W/)?"?([A-Za-z0-9_-]{1,128})"?')
_REPO_OF_PATH = re.compile(
    r"/(?:api/models/)?([\w.-]+/[\w.-]+)/(?:resolve|revision|tree|commits|paths-info)/", re.ASCII
)
_REST = re.compile(r"bytes=([0-9]{1,19})-")
_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})")

# The HTTP library under the client goes by one name in one release of it and by another in the next.
http: Any = import_module(HfHubHTTPError.__mro__[1].__module__.partition(".")[0])


class _Question(threading.local):
    """What this thread asks for, and how that goes. Threads ask side by side through one client."""

    def __init__(self) -> None:
        self.begin("", "", "")

    def begin(self, repo: str, revision: str, path: str) -> None:
        self.repo, self.revision, self.path = repo, revision, path
        self.anew = 0
        self.total = ""
        self.begun: dict[tuple[str, str], int] = {}
        self.came()

    def came(self) -> None:
        """Something came."""
        self.last_s = time.monotonic()


class Wire:
    """Between the client and the network.

    Args:
        endpoint: Where the Hub is.
        timeout_s: Seconds without anything coming after which a question is given up.
    """

    def __init__(self, endpoint: str, timeout_s: float) -> None:
        self.endpoint = endpoint
        self.timeout_s = timeout_s
        self._asked = _Question()
        self._stopped = threading.Event()
        self._connections: list[Any] = []

    def begin(self, repo: str, revision: str, path: str, *, again: bool = False) -> None:
        """What the next requests of this thread are about.

        Args:
            repo, revision, path: What is asked for; `path` is empty for the repository itself.
            again: The same was asked before: how long nothing has come counts from then.
        """
        last_s = self._asked.last_s
        self._asked.begin(repo, revision, path)
        if again:
            self._asked.last_s = last_s

    def total(self) -> int | None:
        """How many rows there are in all of the listing that this thread asked for, where the Hub says it."""
        said = self._asked.total
        return int(said) if said.isascii() and said.isdigit() and len(said) < 9 else None

    def stop(self) -> None:
        """End all transfers of all threads now, those included that wait for a byte."""
        self._stopped.set()
        for stream in self._connections:
            with suppress(OSError, AttributeError):  # closed already
                stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    def _traced(self, event: str, facts: dict[str, Any]) -> None:
        """Hear of connections as they are made."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._connections.append(facts["return_value"])

    def pause(self, seconds: float) -> None:
        """Wait; shorter when all is to be stopped."""
        if self._stopped.wait(seconds):
            raise self.error("stopped")

    def around(self, make: Any) -> Any:
        """A client of `make` whose requests all go through `send`."""
        try:
            client = make()
        except ImportError as error:
            problem = "a proxy of the environment needs a package that is not installed (socksio, for SOCKS)"
            raise self.error("unreachable", problem=problem) from error
        except OSError as error:
            problem = f"the certificates of SSL_CERT_FILE or SSL_CERT_DIR cannot be read ({error.strerror})"
            raise self.error("unreachable", problem=problem) from error
        except (ValueError, http.InvalidURL) as error:  # it may repeat the proxy's password
            raise self.error("unreachable", problem="the address of its proxy cannot be used") from error
        client.send = partial(self.send, client.send)
        return client

    def send(self, inner: Any, request: Any, **options: Any) -> Any:
        """Send one request, again where that may help; return an answer that is fit to be used.

        Who asks for the rest of a file gets the rest: from an answer that brings the whole the first bytes, which
        are here already, are left out.
        """
        self._require_trusted(request)
        self._require_headway(request)
        here = _here(request)
        if here:
            request.headers["Accept-Encoding"] = "identity"  # what is packed cannot be gone on with
        response = self._answered(inner, request, options, forgiven=(416,) if here else ())
        if here and response.status_code != 200 and not _goes_on(response, here):
            response.close()
            del request.headers["Range"]
            response = self._answered(inner, request, options)
        response = self._admitted(request, response, resumed=here > 0)
        return self._watched(response, self._past(response, here) if here else 0)

    def error(self, reason: HubReason, **facts: Any) -> HubError:
        """The error for this reason, about what this thread asks for."""
        asked = self._asked
        whole = {"repo": asked.repo, "revision": asked.revision, "path": asked.path, **facts}
        return Refusal(reason=reason, endpoint=self.endpoint, timeout_s=self.timeout_s, **whole).error()

    def _answered(self, inner: Any, request: Any, options: Any, forgiven: tuple[int, ...] = ()) -> Any:
        """The answer, after as many tries as may help."""
        for pause_s in (*BACKOFF_S, None):
            response, lost = self._tried(inner, request, options)
            wait_s = pause_s or 0.0
            if response is not None:
                if response.status_code < 400 or response.status_code in forgiven:
                    self._asked.came()
                    return response
                response.close()
                wait_s = max(wait_s, _retry_after_s(response))
                if response.status_code not in _BUSY or pause_s is None or wait_s > self._left_s():
                    raise self._refused(request, response, wait_s)
            elif pause_s is None:
                raise lost
            self.pause(min(wait_s, self._left_s()))
        raise AssertionError("the last round returns or raises")

    def _tried(self, inner: Any, request: Any, options: Any) -> tuple[Any, HubError]:
        """What one try brought: an answer, or None and the error that it ends in if no other try helps."""
        left_s = self._left_s()
        if not left_s:
            raise self.error("timeout")
        timeouts = dict.fromkeys(("read", "write", "pool"), left_s)
        connect_s = min(left_s, CONNECT_S)
        request.extensions |= {"timeout": {**timeouts, "connect": connect_s}, "trace": self._traced}
        try:
            return inner(request, **options), self.error("broken")
        except http.ConnectTimeout:
            return None, self.error("timeout")
        except http.TimeoutException as error:
            raise self.error("timeout") from error
        except (http.RemoteProtocolError, http.ReadError, http.WriteError) as error:
            return None, self.error("broken", problem=type(error).__name__)
        except http.HTTPError as error:
            raise self.error("unreachable", problem=str(error)) from error

    def _left_s(self) -> float:
        """How long this question may go on without anything coming."""
        return max(self.timeout_s - (time.monotonic() - self._asked.last_s), 0.0)

    def _refused(self, request: Any, response: Any, wait_s: float) -> HubError:
        status = response.status_code
        known: dict[str, HubReason] = {
            "GatedRepo": "gated",
            "RepoNotFound": "repository",
            "RevisionNotFound": "revision",
            "EntryNotFound": "file",
        }
        by_status: dict[int, HubReason] = {403: "forbidden", 429: "busy", 401: "token"}
        by_status[404] = "file" if self._asked.path else "repository"
        code = response.headers.get("X-Error-Code", "")
        reason = known.get(code) or by_status.get(status)
        if status == 401 and code != "GatedRepo" and "authorization" not in request.headers:
            reason = "private"  # without a token 401 stands for all that is private or does not exist
        if reason is None:
            reason = "server" if status in _BUSY or status >= 500 else "answer"
        return self.error(reason, problem=f"status {status}", wait_s=wait_s)

    def trusts(self, address: str) -> bool:
        """Whether the token may go there: to the endpoint and the public Hub, and nowhere else."""
        home, there = http.URL(self.endpoint), http.URL(address)
        same = (there.scheme, there.host, there.port) == (home.scheme, home.host, home.port)
        return same or (there.scheme == "https" and there.host in _TOKEN_HOSTS)

    def _require_trusted(self, request: Any) -> None:
        """A next page may be anywhere."""
        if "authorization" in request.headers and not self.trusts(str(request.url)):
            raise self.error("answer", problem="it leads elsewhere, and the token was not sent there")

    def _require_headway(self, request: Any) -> None:
        """The client resumes without end: give up where it begins at one place too often."""
        if self._stopped.is_set():
            raise self.error("stopped")
        place = str(request.url), request.headers.get("Range", "")
        if request.method == "GET":
            self._asked.begun[place] = self._asked.begun.get(place, 0) + 1
            if self._asked.begun[place] > SAME_PLACE:
                raise self.error("stuck", problem=f"it broke off {SAME_PLACE} times at the same byte")

    def _past(self, response: Any, here: int) -> int:
        """How many first bytes of the answer to leave out: those that are here, if it brings them again."""
        plain = response.headers.get("Content-Encoding", "identity") == "identity"
        if response.status_code != 200 or not plain:  # the client takes what is packed for a file begun anew
            return 0
        total = response.headers.pop("Content-Length", None)
        if total is not None and total.isdigit():
            response.headers["Content-Length"] = str(max(int(total) - here, 0))
        response.status_code = 206
        return here

    def _watched(self, response: Any, past: int) -> Any:
        if not response.is_closed:
            response.stream = _Watched(response.stream, self._note, past)
        return response

    def _note(self) -> None:
        if self._stopped.is_set():
            raise self.error("stopped")
        self._asked.came()

    def _admitted(self, request: Any, response: Any, *, resumed: bool) -> Any:
        """The answer, unless its headers would lead the client astray."""
        headers = response.headers
        problem = ""
        if moved_to := self._moved_to(request, response):
            response.close()
            raise self.error("moved", moved_to=moved_to)
        if self._is_api(request):
            self._asked.total = headers.get("X-Total-Count", "")
            if "json" not in headers.get("Content-Type", "").lower():
                problem = "JSON was due, and something else came"
        elif request.method == "HEAD":
            etag = headers.get("X-Linked-Etag") or headers.get("ETag")
            if etag is not None and not _ETAG.fullmatch(etag):
                problem = "its ETag is no plain word"
            elif headers.get("X-Repo-Commit", self._asked.revision) != self._asked.revision:
                problem = f"the file is said to be of another commit than {self._asked.revision}"
        elif resumed and response.status_code == 200:
            self._asked.anew += 1  # the client would go on for ever with a server that knows no ranges
            if self._asked.anew > SAME_PLACE:
                response.close()
                raise self.error("stuck", problem=f"it began anew {self._asked.anew} times")
        if problem:
            response.close()
            raise self.error("answer", problem=problem)
        return response

    def _is_api(self, request: Any) -> bool:
        return str(request.url.path).startswith(f"{urlsplit(self.endpoint).path}/api/")

    def _moved_to(self, request: Any, response: Any) -> str:
        """The other repository that an answer is of, or leads to: so a renamed one answers."""
        location = response.headers.get("Location", "") if response.status_code in range(300, 400) else ""
        there, repo = request.url.join(location) if location else response.url, self._asked.repo
        if there.host != request.url.host:  # storage elsewhere
            return ""
        path = str(there.path).removeprefix(urlsplit(self.endpoint).path)
        found = _REPO_OF_PATH.match(path)
        if found is None or path.startswith((f"/{repo}/resolve/", f"/api/models/{repo}/")):
            return ""
        return found[1]


class _Watched(http.SyncByteStream):  # type: ignore[misc]
    """A body whose every piece is noted as it comes, without the first `past` bytes."""

    def __init__(self, inner: Any, note: Callable[[], None], past: int) -> None:
        self._inner = inner
        self._note = note
        self._past = past

    def __iter__(self) -> Iterator[bytes]:
        past = self._past
        for piece in self._inner:
            self._note()
            if past < len(piece):
                yield piece[past:]
            past = max(past - len(piece), 0)

    def close(self) -> None:
        self._inner.close()


def _here(request: Any) -> int:
    """How many first bytes of a file are here, by the request for the rest of it."""
    span = _REST.fullmatch(request.headers.get("Range", ""))
    return int(span[1]) if span is not None and request.method == "GET" else 0


def _goes_on(response: Any, size: int) -> bool:
    """Whether the answer is what follows the first `size` bytes."""
    span = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    plain = response.headers.get("Content-Encoding", "identity") == "identity"
    fits = span is not None and int(span[1]) == size < int(span[3])
    return response.status_code == 206 and plain and fits


def _retry_after_s(response: Any) -> float:
    value = response.headers.get("Retry-After", "").strip()
    return float(value) if value.isascii() and value.isdigit() and len(value) < 9 else 0.0
