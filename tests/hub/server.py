"""A hub on this machine: folders served over HTTP as the Hub serves repositories, with faults on request."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub.uploads import Uploads, Writing

LFS_SUFFIXES = (".safetensors", ".bin")
Rows = list[dict[str, Any]]


def git_sha1(content: bytes) -> str:
    """The name git gives to these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def digests_of(file: Path) -> tuple[str, str]:
    """sha256 and git's name of a file's bytes."""
    status = file.stat()
    return _digests(file, status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1_000)
def _digests(file: Path, *_stamp: int) -> tuple[str, str]:
    whole = hashlib.sha256()
    git = hashlib.sha1(b"blob %d\0" % file.stat().st_size, usedforsecurity=False)
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            whole.update(chunk)
            git.update(chunk)
    return whole.hexdigest(), git.hexdigest()


def _same(_path: str, content: bytes) -> bytes:
    return content


@dataclass(kw_only=True)
class Refusal:
    """A status in place of an answer, `times` times, for addresses that hold `where`."""

    status: int
    where: str = ""
    code: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1_000


@dataclass(kw_only=True)
class Reset:
    """A connection torn down (RST), `times` times, for requests like `HEAD /org/heads/...` that hold `where`.

    After so many bytes of the body, or in place of an answer where `after` is None.
    """

    where: str
    after: int | None = None
    times: int = 1_000


@dataclass
class Faults:
    """What goes wrong; nothing does at first."""

    body: Callable[[str, bytes], bytes] = _same
    ranged: Callable[[bytes], bytes] = lambda content: content
    rows: Callable[[Rows], Rows] = lambda rows: rows
    history: Callable[[list[str]], list[str]] = lambda commits: commits
    unsent: int | None = 0
    etag: Callable[[str, str], str] = lambda _path, etag: etag
    commit: str | None = None
    content_type: str = "application/json"
    page: int = 1_000
    link_lost: bool = False
    link: str | None = None
    cuts: list[int] = field(default_factory=list)
    ranges_ignored: bool = False
    ranges_shifted: int = 0
    packed: bool = False
    stalled: str = ""
    refusals: list[Refusal] = field(default_factory=list)
    resets: list[Reset] = field(default_factory=list)
    moved: dict[str, str] = field(default_factory=dict)
    xet_hash: str | None = None
    pace_s: float = 0.0


class _Server(ThreadingHTTPServer):
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(
            sys.exc_info()[1], ConnectionError
        ):  # a client that was killed is none of its faults
            super().handle_error(request, client_address)


class LocalHub:
    """Serves `root/<org>/<name>/**`. Large files are redirected to another host name, as the Hub does."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.faults = Faults()
        self.uploads = Uploads()
        self.requests: list[str] = []
        self.ranges: list[str] = []
        self.tokens: list[tuple[str, str | None]] = []
        self.released = threading.Event()
        self.kept: dict[str, list[str]] = {}
        hub = self

        class Handler(_Handler):
            """Bound to this hub."""

            local = hub

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> LocalHub:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def put(self, repo: str, path: str, content: bytes) -> None:
        """Put a file into a repository, which moves its commit."""
        target = self.root / repo / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def commit(self, repo: str) -> str:
        """The commit `main` stands at: it changes with any byte of the repository."""
        whole = hashlib.sha1(repo.encode(), usedforsecurity=False)
        for path in self.files(repo):
            whole.update(path.encode() + digests_of(self.root / repo / path)[0].encode())
        return whole.hexdigest()

    def keep(self, repo: str) -> str:
        """Go on serving a repository as it is now by its commit, whatever becomes of `main`; that commit."""
        commit = self.commit(repo)
        shutil.copytree(self.root / repo, self.root / ".kept" / commit / repo, dirs_exist_ok=True)
        self.kept.setdefault(repo, []).append(commit)
        return commit

    def history(self, repo: str, revision: str) -> list[str]:
        """The commits of a repository up to a revision, the latest first: those kept, and what `main` stands at."""
        commits = list(dict.fromkeys([*self.kept.get(repo, []), self.commit(repo)]))
        last = commits.index(revision) if revision in commits else len(commits) - 1
        return commits[last::-1]

    def root_at(self, repo: str, revision: str) -> Path:
        """Where a revision's files are."""
        kept = self.root / ".kept" / revision
        return kept if (kept / repo).is_dir() else self.root

    def files(self, repo: str, revision: str = "main") -> list[str]:
        """All files of a repository."""
        folder = self.root_at(repo, revision) / repo
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


class _Handler(Writing, BaseHTTPRequestHandler):
    local: LocalHub
    protocol_version = "HTTP/1.1"
    # Headers and body are two sends: the second would wait 40 ms for the first.
    disable_nagle_algorithm = True

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        hub = self.local
        address = urlsplit(self.path)
        path = unquote(address.path)
        if self._met_fault(path):
            return
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            self._answer_api("/".join(parts[2:4]), parts[4:], parse_qs(address.query))
        elif parts[0] == "cdn":
            self._send_file(hub.root / "/".join(parts[1:]), path, {})
        else:
            self._answer_resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))

    def _met_fault(self, path: str) -> bool:
        """Note the request, and let it meet the fault that waits for it, if one does."""
        hub, faults = self.local, self.local.faults
        hub.requests.append(f"{self.command} {path}")
        hub.tokens.append((self.headers.get("Host", ""), self.headers.get("Authorization")))
        if faults.stalled and faults.stalled in path:
            hub.released.wait(20)
        if self._reset_due(in_body=False) is not None:
            self._reset()
            return True
        for refusal in faults.refusals:
            if refusal.where in path and refusal.times > 0:
                refusal.times -= 1
                extra = {"X-Error-Code": refusal.code} if refusal.code else {}
                self._send(refusal.status, b"no", {**refusal.headers, **extra})
                return True
        for old, new in faults.moved.items():
            if f"/{old}/" in f"{path}/":
                self._send(307, b"", {"Location": self.path.replace(old, new)})
                return True
        return False

    def _known(self, repo: str, revision: str) -> bool:
        if not (self.local.root / repo).is_dir():
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            return False
        if (
            revision not in ("main", self.local.commit(repo))
            and self.local.root_at(repo, revision) == self.local.root
        ):
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            return False
        return True

    def _answer_api(self, repo: str, rest: list[str], query: dict[str, list[str]]) -> None:
        hub, faults = self.local, self.local.faults
        if not self._known(repo, rest[1] if len(rest) > 1 else "main"):
            return
        headers = {"Content-Type": faults.content_type}
        if rest[0] == "revision":
            private = repo in hub.uploads.private
            sha = faults.commit or hub.commit(repo)
            body = {"id": repo, "sha": sha, "siblings": [], "private": private}
            self._send(200, json.dumps(body).encode(), headers)
            return
        if rest[0] == "commits":
            commits = faults.history(hub.history(repo, rest[1]))
            if faults.unsent is not None:
                headers["X-Total-Count"] = str(len(commits) + faults.unsent)
            self._send_page([{"id": commit} for commit in commits], query, headers)
            return
        folder = "/".join(rest[2:])
        recursive = query.get("recursive", ["False"])[0].lower() == "true"
        root = hub.root_at(repo, rest[1])
        rows = faults.rows(self._rows(repo, rest[1], folder, recursive=recursive))
        if folder and not (root / repo / folder).is_dir():
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
            return
        self._send_page(rows, query, headers)

    def _send_page(self, rows: Rows, query: dict[str, list[str]], headers: dict[str, str]) -> None:
        hub, faults = self.local, self.local.faults
        start = int(query.get("cursor", ["0"])[0])
        if start + faults.page < len(rows) and not faults.link_lost:
            target = f"{hub.endpoint}{urlsplit(self.path).path}?cursor={start + faults.page}"
            target += "&recursive=True" if query.get("recursive", ["False"])[0].lower() == "true" else ""
            headers["Link"] = f'<{faults.link or target}>; rel="next"'
        self._send(200, json.dumps(rows[start : start + faults.page]).encode(), headers)

    def _rows(self, repo: str, revision: str, folder: str, *, recursive: bool) -> Rows:
        prefix = f"{folder}/" if folder else ""
        rows: Rows = []
        for path in self.local.files(repo, revision):
            if not path.startswith(prefix) or ("/" in path[len(prefix) :] and not recursive):
                continue
            file = self.local.root_at(repo, revision) / repo / path
            size, (sha256, git) = file.stat().st_size, digests_of(file)
            row: dict[str, Any] = {"type": "file", "path": path, "size": size, "oid": git}
            if path.endswith(LFS_SUFFIXES):
                row["lfs"] = {"oid": sha256, "size": size, "pointerSize": 134}
            rows.append(row)
        return rows

    def _answer_resolve(self, repo: str, revision: str, path: str) -> None:
        hub, faults = self.local, self.local.faults
        if not self._known(repo, revision):
            return
        file = hub.root_at(repo, revision) / repo / path
        if not file.is_file():
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
            return
        sha256, git = digests_of(file)
        size = file.stat().st_size if faults.body is _same else len(faults.body(path, file.read_bytes()))
        kept = revision if hub.root_at(repo, revision) != hub.root else ""
        commit = faults.commit or kept or hub.commit(repo)
        headers = {"X-Repo-Commit": commit}
        if faults.xet_hash is not None:
            headers |= {"X-Xet-Hash": faults.xet_hash, "X-Xet-Refresh-Route": f"{hub.endpoint}/api/xet"}
        if path.endswith(LFS_SUFFIXES):
            headers["Location"] = f"http://localhost:{hub.port}/cdn/{repo}/{path}"
            if file.is_relative_to(hub.root / ".kept"):
                headers["Location"] = (
                    f"http://localhost:{hub.port}/cdn/{file.relative_to(hub.root).as_posix()}"
                )
            headers["X-Linked-Etag"] = f'"{faults.etag(path, sha256)}"'
            headers["X-Linked-Size"] = str(size)
            self._send(302, b"", headers)
            return
        self._send_file(file, path, {**headers, "ETag": f'"{faults.etag(path, git)}"'})

    def _send_file(self, file: Path, path: str, headers: dict[str, str]) -> None:
        faults = self.local.faults
        asked = self.headers.get("Range")
        if asked is None and faults.body is _same and not (faults.cuts or faults.resets or faults.packed):
            self._stream(file, headers)
            return
        content = faults.body(path, file.read_bytes())
        self.local.ranges += [asked] if asked else []
        if asked and not faults.ranges_ignored:
            start = int(asked.removeprefix("bytes=").rstrip("-")) - faults.ranges_shifted
            if start >= len(content):
                self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
                return
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self._send(206, faults.ranged(content[start:]), headers)
            return
        if faults.packed and self.command == "GET":
            content, headers["Content-Encoding"] = gzip.compress(content), "gzip"
        self._send(200, content, headers)

    def _stream(self, file: Path, headers: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(file.stat().st_size)}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 16):
                if not self._write(chunk):
                    return
                time.sleep(self.local.faults.pace_s)

    def _write(self, content: bytes) -> bool:
        try:
            self.wfile.write(content)
        except ConnectionError:  # whoever asked has gone
            self.close_connection = True
            return False
        return True

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        reset = self._reset_due(in_body=True) if status in (200, 206) else None
        if reset is not None:
            self._write(content[: reset.after])
            time.sleep(0.05)  # what is on its way is thrown away by a reset
            self._reset()
            return
        cuts = self.local.faults.cuts
        if cuts and status in (200, 206) and self.path.endswith(LFS_SUFFIXES):
            self.wfile.write(content[: cuts.pop(0)])
            self.wfile.flush()
            time.sleep(0.01)
            self.close_connection = True
            return
        self._write(content)

    def _reset_due(self, *, in_body: bool) -> Reset | None:
        """The reset that this request meets, which is counted down."""
        for reset in self.local.faults.resets:
            meets = reset.where in f"{self.command} {self.path}" and (reset.after is not None) is in_body
            if meets and reset.times > 0:
                reset.times -= 1
                return reset
        return None

    def _reset(self) -> None:
        """Tear the connection down at once: the other side reads 'connection reset by peer', and no end."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())  # the server itself would close gently first
        self.close_connection = True
