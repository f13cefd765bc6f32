"""What the hub on this machine answers to those who write: repositories made, files taken in, commits, pull requests.

The requests are those of the Hub's own client: `preupload` tells how each file is to come, large ones go by the LFS
batch to another host name, in one piece or in parts, and a commit is lines of JSON. Xet is not offered.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from tests.hub.server import LocalHub

WRITER = "hf_" + "writer" * 6
READER = "hf_" + "reader" * 6
GIT_ATTRIBUTES = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"


def _nothing() -> None:
    """Nothing happens meanwhile."""


@dataclass
class Uploads:
    """Who may write, what was written, and what happens meanwhile.

    `meanwhile` is called before each commit is looked at; `answers_lost` counts commits that are made while the
    connection breaks; `part_bytes` asks for files in parts; `ignored` are patterns of the repositories' .gitignore;
    `spoilt` makes other bytes of what is stored; `answers` stand in place of the true ones, by a part of the address.
    """

    tokens: dict[str, str] = field(default_factory=lambda: {WRITER: "write", READER: "read"})
    objects: dict[str, bytes] = field(default_factory=dict)
    parts: dict[tuple[str, int], bytes] = field(default_factory=dict)
    commits: list[dict[str, Any]] = field(default_factory=list)
    private: set[str] = field(default_factory=set)
    pull_requests: int = 0
    meanwhile: Callable[[], None] = _nothing
    answers_lost: int = 0
    part_bytes: int | None = None
    ignored: tuple[str, ...] = ()
    spoilt: Callable[[bytes], bytes] = bytes
    answers: dict[str, object] = field(default_factory=dict)


class Writing:
    """The handler's part for POST and PUT; the rest of it answers GET and HEAD."""

    local: LocalHub
    path: str
    headers: Any
    rfile: Any
    _met_fault: Callable[[str], bool]
    _send: Callable[[int, bytes, dict[str, str]], None]
    _reset: Callable[[], None]

    def do_POST(self) -> None:  # noqa: N802 - the standard library's name
        """A repository, a question before an upload, or a commit."""
        self._write_in(self._answer_post)

    def do_PUT(self) -> None:  # noqa: N802 - as above
        """The bytes of a large file, or a part of them. Storage knows no tokens, only signed addresses."""
        self._write_in(self._answer_put)

    def _write_in(self, answer: Callable[[str, dict[str, str], bytes], None]) -> None:
        body = self._body()  # read whatever is answered: the connection lives on
        address = urlsplit(self.path)
        path = unquote(address.path)
        instead = [document for where, document in self.local.uploads.answers.items() if where in path]
        if self._met_fault(path):
            return
        if instead:
            self._told(200, instead[0])
        else:
            answer(path, {key: values[0] for key, values in parse_qs(address.query).items()}, body)

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return bytes(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
        pieces = []
        while size := int(self.rfile.readline().strip(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _answer_put(self, path: str, query: dict[str, str], body: bytes) -> None:
        uploads, oid = self.local.uploads, path.rpartition("/")[2]
        if "authorization" in {name.lower() for name in self.headers}:
            self._send(400, b"a token has no business here", {})
        elif "part" in query:
            uploads.parts[oid, int(query["part"])] = body
            self._send(200, b"", {"ETag": f'"{hashlib.sha256(body).hexdigest()[:32]}"'})
        else:
            uploads.objects[oid] = uploads.spoilt(body)
            self._send(200, b"", {})

    def _answer_post(self, path: str, query: dict[str, str], body: bytes) -> None:
        parts = path.strip("/").split("/")
        if path.startswith("/storage/complete/"):
            self._complete(json.loads(body))
            return
        role = self.local.uploads.tokens.get(self.headers.get("Authorization", "").removeprefix("Bearer "))
        if role is None:
            self._told(401, {"error": "Invalid credentials"})
        elif parts == ["api", "repos", "create"]:
            self._create(role, json.loads(body))
        elif parts == ["api", "validate-yaml"]:
            self._told(200, {"errors": [], "warnings": [{"message": "the card could say more"}]})
        elif parts[:2] == ["api", "models"] and parts[4] == "preupload":
            self._preupload("/".join(parts[2:4]), json.loads(body))
        elif parts[:2] == ["api", "models"] and parts[4] == "commit":
            self._commit(role, "/".join(parts[2:4]), body, pull_request="create_pr" in query)
        elif path.endswith(".git/info/lfs/objects/batch"):
            self._batch("/".join(parts[:2]).removesuffix(".git"), json.loads(body))
        elif path.endswith(".git/info/lfs/verify"):
            self._verify(json.loads(body))
        else:
            self._told(404, {"error": "nothing is here"})

    def _told(self, status: int, document: object, **headers: str) -> None:
        self._send(status, json.dumps(document).encode(), {"Content-Type": "application/json", **headers})

    def _create(self, role: str, asked: dict[str, Any]) -> None:
        repo = f"{asked['organization']}/{asked['name']}"
        if role != "write":
            self._told(403, {"error": "You don't have the rights to create a model under this namespace"})
        elif (self.local.root / repo).exists():
            self._told(409, {"error": "You already created this model repo"})
        else:
            self.local.put(repo, ".gitattributes", GIT_ATTRIBUTES)
            if asked.get("visibility") == "private":
                self.local.uploads.private.add(repo)
            self._told(200, {"url": f"{self.local.endpoint}/{repo}", "name": repo})

    def _preupload(self, repo: str, asked: dict[str, Any]) -> None:
        uploads = self.local.uploads
        rows = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith((".safetensors", ".bin")) else "regular",
                "shouldIgnore": any(fnmatch.fnmatch(file["path"], pattern) for pattern in uploads.ignored),
                "oid": None,
            }
            for file in asked["files"]
        ]
        if self._is_there(repo):
            self._told(200, {"files": rows})

    def _batch(self, repo: str, asked: dict[str, Any]) -> None:
        """Where to send what is not here yet: to storage under another host name, as the Hub does."""
        uploads, storage = self.local.uploads, f"http://localhost:{self.local.port}/storage"
        rows: list[dict[str, Any]] = []
        for one in asked["objects"]:
            oid, size = one["oid"], one["size"]
            row: dict[str, Any] = {"oid": oid, "size": size}
            if oid not in uploads.objects:
                upload: dict[str, Any] = {"href": f"{storage}/{oid}?signature=abc"}
                if uploads.part_bytes is not None:
                    count = -(-size // uploads.part_bytes)
                    urls = {str(n): f"{storage}/{oid}?part={n}" for n in range(1, count + 1)}
                    header = {"chunk_size": str(uploads.part_bytes), **urls}
                    upload = {"href": f"{self.local.endpoint}/storage/complete/{oid}", "header": header}
                verify = {"href": f"{self.local.endpoint}/{repo}.git/info/lfs/verify"}
                row["actions"] = {"upload": upload, "verify": verify}
            rows.append(row)
        if self._is_there(repo):
            self._told(200, {"transfer": "basic", "objects": rows})

    def _complete(self, asked: dict[str, Any]) -> None:
        uploads, oid = self.local.uploads, asked["oid"]
        uploads.objects[oid] = b"".join(uploads.parts[oid, part["partNumber"]] for part in asked["parts"])
        self._told(200, {"success": True})

    def _verify(self, asked: dict[str, Any]) -> None:
        stored = self.local.uploads.objects.get(asked["oid"], b"")
        self._told(200 if len(stored) == asked["size"] else 404, {})

    def _is_there(self, repo: str) -> bool:
        if (self.local.root / repo).is_dir():
            return True
        self._told(404, {"error": "Repository not found"}, **{"X-Error-Code": "RepoNotFound"})
        return False

    def _commit(self, role: str, repo: str, body: bytes, *, pull_request: bool) -> None:
        hub, uploads = self.local, self.local.uploads
        lines = [json.loads(line) for line in body.splitlines()]
        header = lines[0]["value"]
        uploads.meanwhile()
        if not self._is_there(repo):
            return
        if role != "write" and not pull_request:
            self._told(403, {"error": "You don't have write access"})
            return
        if not pull_request and header.get("parentCommit") not in (None, hub.commit(repo)):
            self._told(412, {"error": "A commit has happened since. Please refresh and try again."})
            return
        parent = hub.keep(repo)
        changes = self._changes(lines[1:])
        if pull_request:
            uploads.pull_requests += 1
            commit = self._proposed(repo, changes)
        else:
            _carry_out(hub.root / repo, changes)
            commit = hub.keep(repo)
        paths = sorted(changes)
        uploads.commits.append(
            {**header, "commit": commit, "parent": parent, "paths": paths, "pr": pull_request}
        )
        if uploads.answers_lost > 0:
            uploads.answers_lost -= 1
            self._reset()
            return
        answer = {"success": True, "commitOid": commit, "commitUrl": f"{hub.endpoint}/{repo}/commit/{commit}"}
        if pull_request:
            answer["pullRequestUrl"] = f"{hub.endpoint}/{repo}/discussions/{uploads.pull_requests}"
        self._told(200, answer)

    def _changes(self, lines: list[dict[str, Any]]) -> dict[str, bytes | None]:
        """Path -> the bytes that it is to hold; None for what goes."""
        changes: dict[str, bytes | None] = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                changes[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                changes[value["path"]] = self.local.uploads.objects[value["oid"]]
            else:
                changes[value["path"]] = None
        return changes

    def _proposed(self, repo: str, changes: dict[str, bytes | None]) -> str:
        """A commit beside main, served by its own name alone."""
        hub = self.local
        drafts = hub.root / ".drafts"
        shutil.copytree(hub.root / repo, drafts / repo)
        _carry_out(drafts / repo, changes)
        seed = f"pull request {hub.uploads.pull_requests} of {hub.commit(repo)}"
        commit = hashlib.sha1(seed.encode(), usedforsecurity=False).hexdigest()
        target = hub.root / ".kept" / commit
        target.parent.mkdir(exist_ok=True)
        drafts.rename(target)
        return commit


def _carry_out(folder: Path, changes: dict[str, bytes | None]) -> None:
    for path, content in changes.items():
        target = folder / path
        if content is None:
            target.unlink()
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
