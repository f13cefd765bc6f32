"""A hub on this machine: folders served over HTTP as the Hub serves repositories, with faults on request."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LFS_SUFFIXES = (".safetensors", ".bin")
Rows = list[dict[str, Any]]


def git_sha1(content: bytes) -> str:
    """The name git gives to these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@dataclass(kw_only=True)
class Refusal:
    """A status in place of an answer, `times` times, for addresses that hold `where`."""

    status: int
    where: str = ""
    code: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1_000


@dataclass
class Faults:
    """What goes wrong; nothing does at first."""

    body: Callable[[str, bytes], bytes] = lambda _path, content: content
    ranged: Callable[[bytes], bytes] = lambda content: content
    rows: Callable[[Rows], Rows] = lambda rows: rows
    etag: Callable[[str, str], str] = lambda _path, etag: etag
    commit: str | None = None
    content_type: str = "application/json"
    page: int = 1_000
    link_lost: bool = False
    link: str | None = None
    cuts: list[int] = field(default_factory=list)
    ranges_ignored: bool = False
    stalled: str = ""
    refusals: list[Refusal] = field(default_factory=list)


class LocalHub:
    """Serves `root/<org>/<name>/**`. Large files are redirected to another host name, as the Hub does."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.faults = Faults()
        self.requests: list[str] = []
        self.ranges: list[str] = []
        self.tokens: list[tuple[str, str | None]] = []
        self.released = threading.Event()
        hub = self

        class Handler(_Handler):
            """Bound to this hub."""

            local = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
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
            whole.update(path.encode() + (self.root / repo / path).read_bytes())
        return whole.hexdigest()

    def files(self, repo: str) -> list[str]:
        """All files of a repository."""
        folder = self.root / repo
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


class _Handler(BaseHTTPRequestHandler):
    local: LocalHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        hub, faults = self.local, self.local.faults
        address = urlsplit(self.path)
        path = unquote(address.path)
        hub.requests.append(f"{self.command} {path}")
        hub.tokens.append((self.headers.get("Host", ""), self.headers.get("Authorization")))
        if faults.stalled and faults.stalled in path:
            hub.released.wait(20)
        for refusal in faults.refusals:
            if refusal.where in path and refusal.times > 0:
                refusal.times -= 1
                extra = {"X-Error-Code": refusal.code} if refusal.code else {}
                self._send(refusal.status, b"no", {**refusal.headers, **extra})
                return
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            self._answer_api("/".join(parts[2:4]), parts[4:], parse_qs(address.query))
        elif parts[0] == "cdn":
            self._send_file(hub.root / "/".join(parts[1:]), path, {})
        else:
            self._answer_resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))

    def _known(self, repo: str, revision: str) -> bool:
        if not (self.local.root / repo).is_dir():
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            return False
        if revision not in ("main", self.local.commit(repo)):
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            return False
        return True

    def _answer_api(self, repo: str, rest: list[str], query: dict[str, list[str]]) -> None:
        hub, faults = self.local, self.local.faults
        if not self._known(repo, rest[1] if len(rest) > 1 else "main"):
            return
        headers = {"Content-Type": faults.content_type}
        if rest[0] == "revision":
            body = {"id": repo, "sha": faults.commit or hub.commit(repo), "siblings": []}
            self._send(200, json.dumps(body).encode(), headers)
            return
        folder = "/".join(rest[2:])
        rows = faults.rows(self._rows(repo, folder))
        if folder and not (hub.root / repo / folder).is_dir():
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
            return
        start = int(query.get("cursor", ["0"])[0])
        if start + faults.page < len(rows) and not faults.link_lost:
            target = f"{hub.endpoint}{urlsplit(self.path).path}?cursor={start + faults.page}"
            headers["Link"] = f'<{faults.link or target}>; rel="next"'
        self._send(200, json.dumps(rows[start : start + faults.page]).encode(), headers)

    def _rows(self, repo: str, folder: str) -> Rows:
        prefix = f"{folder}/" if folder else ""
        rows: Rows = []
        for path in self.local.files(repo):
            if not path.startswith(prefix) or "/" in path[len(prefix) :]:
                continue
            content = (self.local.root / repo / path).read_bytes()
            row: dict[str, Any] = {
                "type": "file",
                "path": path,
                "size": len(content),
                "oid": git_sha1(content),
            }
            if path.endswith(LFS_SUFFIXES):
                sha256 = hashlib.sha256(content).hexdigest()
                row["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 134}
            rows.append(row)
        return rows

    def _answer_resolve(self, repo: str, revision: str, path: str) -> None:
        hub, faults = self.local, self.local.faults
        if not self._known(repo, revision):
            return
        file = hub.root / repo / path
        if not file.is_file():
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
            return
        content = file.read_bytes()
        commit = faults.commit or hub.commit(repo)
        if path.endswith(LFS_SUFFIXES):
            self._send(
                302,
                b"",
                {
                    "Location": f"http://localhost:{hub.port}/cdn/{repo}/{path}",
                    "X-Repo-Commit": commit,
                    "X-Linked-Etag": f'"{faults.etag(path, hashlib.sha256(content).hexdigest())}"',
                    "X-Linked-Size": str(len(faults.body(path, content))),
                },
            )
            return
        self._send_file(
            file, path, {"X-Repo-Commit": commit, "ETag": f'"{faults.etag(path, git_sha1(content))}"'}
        )

    def _send_file(self, file: Path, path: str, headers: dict[str, str]) -> None:
        faults = self.local.faults
        content = faults.body(path, file.read_bytes())
        asked = self.headers.get("Range")
        self.local.ranges += [asked] if asked else []
        if asked and not faults.ranges_ignored:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self._send(206, faults.ranged(content[start:]), headers)
            return
        self._send(200, content, headers)

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        cuts = self.local.faults.cuts
        if cuts and status in (200, 206) and "/api/" not in self.path:
            self.wfile.write(content[: cuts.pop(0)])
            self.wfile.flush()
            time.sleep(0.01)
            self.close_connection = True
            return
        self.wfile.write(content)
