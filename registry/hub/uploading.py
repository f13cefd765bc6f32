"""The Hub's client as one who writes: what is sent goes over a wire of its own manners.

A commit is asked for once and never by the wire again: where its answer was lost, whoever asked looks what came of
it. A file's body is sent once as well, for it is read as it goes; the whole upload begins anew instead, and what the
Hub holds already is not sent a second time. The Xet library is switched off, as for downloads: large files go by LFS.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token

from registry.errors import HubError, HubReason, UsageError
from registry.hub import wire
from registry.hub.client import Hub
from registry.hub.wire import Wire
from registry.places import DEFAULT_REVISION

_COMMIT = re.compile(r"[0-9a-f]{40}")
_COMMIT_PATH = re.compile(r"/api/models/[^/]+/[^/]+/commit/[^/]+")
_ASKED_OTHERWISE: Final = frozenset({400, 402, 413, 422})
_SENTENCES: Final[dict[HubReason, str]] = {
    "offline": "The Hub was not asked, because HF_HUB_OFFLINE is set. Unset it to publish.",
    "repository": "{where} shows no repository {repo}: there is none, or the account of your token may not see it. "
    "`--create` makes it, or check the name of --repo.",
    "private": "{where} does not show {repo} to a stranger (401). `hf auth login` with an account that may "
    "write to it.",
    "moved": "{repo} has moved to {moved_to}. Give that name to --repo.",
    "token": "{where} does not accept the token it was sent (401). `hf auth login` stores another; it must be one "
    "that may write.",
    "forbidden": "{where} forbids to write to {repo} (403). Log in by `hf auth login` with a token that may write, of "
    "an account that may write there; where you may only read, `--pull-request` proposes the head to its owners.",
    "timeout": "{where} took or sent nothing for {timeout_s:g} s when {repo} was written to. Try again, or wait longer "
    "with --timeout.",
    "broken": "The connection to {where} broke off when {repo} was written to: {problem}. Try again: a head that "
    "arrived is found to be there.",
    "server": "{where} failed when {repo} was written to ({problem}). The fault is on its side: try again later.",
}


class MovedOnError(HubError):
    """The branch no longer stands at the commit that was named as the parent: somebody else has committed."""


class UnansweredError(HubError):
    """Nobody said what became of a commit, or the Hub was too busy for it."""


class UnsentError(HubError):
    """The body of a file did not arrive. The upload may begin anew."""


@dataclass(frozen=True, kw_only=True)
class Commit:
    """What a commit became. `pull_request` is its number, None where it went to the branch itself."""

    commit: str
    pull_request: int | None = None


class UploadHub(Hub):
    """A window through which is written; opened and closed as `Hub`.

    Raises:
        HubError: As for `Hub`; `token` where this machine holds none.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._wire = UploadWire(self.endpoint, self._wire.timeout_s)

    def __enter__(self) -> UploadHub:
        super().__enter__()
        token = get_token()
        if not token:
            super().__exit__()
            raise HubError(
                "Publishing needs a token that may write, and this machine holds none. `hf auth login` stores one, "
                "or set HF_TOKEN. Nothing was sent.",
                reason="token",
                endpoint=self.where,
            )
        self._api = HfApi(endpoint=self.endpoint, token=token)
        return self

    @property
    def where(self) -> str:
        """The endpoint as people may see it."""
        return self._wire.error("token").endpoint

    def create(self, repo: str, *, private: bool) -> bool:
        """Make the repository where there is none; whether it was made now.

        Raises:
            HubError: It could not be asked or made.
            UsageError: It is to be private, and is there and public.
        """
        try:
            with self._sending(repo):
                found = self._api.model_info(repo, revision=DEFAULT_REVISION).private
        except HubError as error:
            if error.reason not in ("repository", "private"):
                raise
        else:
            if private and found is not True:
                raise UsageError(
                    f"{repo} is there already and is public: --private is for a repository that --create makes. "
                    f"Nothing was sent. Make it private at {self.where}/{repo}/settings, or leave --private out."
                )
            return False
        with self._sending(repo):
            self._api.create_repo(repo, private=private or None)
        return True

    def commit(
        self,
        repo: str,
        *,
        parent: str,
        files: Mapping[str, bytes],
        removed: Sequence[str],
        message: str,
        description: str,
        pull_request: bool,
    ) -> Commit:
        """Send files and commit them, all or none.

        Args:
            repo: `org/name`.
            parent: The commit that main must stand at; a pull request starts from it.
            files: Path in the repository -> bytes.
            removed: Paths that go.
            message, description: First line and body of the commit.
            pull_request: Open one, and leave main as it is.

        Raises:
            MovedOnError: main stands elsewhere by now. Nothing was committed.
            UnansweredError: It may have been committed, or not.
            HubError: It could not be done.
        """
        additions = [CommitOperationAdd(path, content) for path, content in files.items()]
        with self._sending(repo):
            self._upload(repo, additions, pull_request=pull_request)
            done = self._api.create_commit(
                repo,
                [*additions, *(CommitOperationDelete(path, is_folder=False) for path in removed)],
                commit_message=message,
                commit_description=description,
                parent_commit=parent,
                create_pr=pull_request,
            )
            if not isinstance(done.oid, str) or not _COMMIT.fullmatch(done.oid):
                raise ValueError("a commit of 40 hex digits was due")
            number = done.pr_num
        return Commit(commit=done.oid, pull_request=number)

    def _upload(self, repo: str, additions: Sequence[CommitOperationAdd], *, pull_request: bool) -> None:
        """Send what is large, some times where a body does not arrive; refuse what the repository ignores."""
        for pause_s in (*wire.BACKOFF_S, None):
            try:
                with self._sending(repo):
                    self._api.preupload_lfs_files(repo, additions, create_pr=pull_request, free_memory=False)
                break
            except UnsentError:
                if pause_s is None:
                    raise
                self.pause(pause_s)
        ignored = [one.path_in_repo for one in additions if getattr(one, "_should_ignore", False)]
        if ignored:  # the client would leave them out without a word
            raise UsageError(
                f"The .gitignore of {repo} leaves out {', '.join(ignored)}. Nothing was committed. "
                "Mend it there, or publish to another repository."
            )

    @contextmanager
    def _sending(self, repo: str) -> Iterator[None]:
        """Name what is written to, and turn what the client makes of odd answers into sentences of ours."""
        with self._asking(repo, DEFAULT_REVISION), warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # what the Hub thinks of a card, and what the HTTP library of the client
            try:
                yield
            except RuntimeError as error:  # so the client wraps what befell one file of several
                if isinstance(error.__cause__, HubError):
                    raise error.__cause__ from None
                raise self._wire.error("answer", problem=type(error).__name__) from error
            except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
                problem = f"what it says cannot be read ({type(error).__name__})"
                raise self._wire.error("answer", problem=problem) from error


class UploadWire(Wire):
    """Between the client and the network, for one who writes."""

    def error(self, reason: HubReason, **facts: Any) -> HubError:
        """The error for this reason, in words about writing."""
        plain = super().error(reason, **facts)
        sentence = _SENTENCES.get(reason)
        if sentence is None:
            return plain
        known = {"problem": "", "moved_to": "", **facts, "timeout_s": self.timeout_s}
        said = sentence.format(where=plain.endpoint, **{"repo": plain.repo, **known})
        return HubError(said, reason=reason, endpoint=plain.endpoint, repo=plain.repo)

    def _answered(self, inner: Any, request: Any, options: Any, forgiven: tuple[int, ...] = ()) -> Any:
        body, commit = request.method == "PUT", self._is_commit(request)
        if not body and not commit:
            return super()._answered(inner, request, options, forgiven)
        response, lost = self._tried(inner, request, options)
        if response is None:
            raise _as(UnsentError if body else UnansweredError, lost)
        status = response.status_code
        if status < 400:
            self._asked.came()
            return response
        response.close()
        refused = self._refused(request, response, 0.0)
        if body:  # the signature of an address that a file is sent to grows old: it gets another
            raise _as(UnsentError, self.error("server", problem=f"status {status}"))
        if status in (409, 412):
            raise _as(MovedOnError, refused)
        raise _as(UnansweredError, refused) if status == 429 or status >= 500 else refused

    def _refused(self, request: Any, response: Any, wait_s: float) -> HubError:
        status, asked = response.status_code, self._asked
        plain = super()._refused(request, response, wait_s)
        if status == 409:
            said = f"{plain.endpoint} cannot make {asked.repo}: a repository of that name is there already (409)."
        elif status in _ASKED_OTHERWISE:
            said = f"{plain.endpoint} refuses what was sent for {asked.repo} (status {status}). Nothing was committed."
        else:
            return plain
        return HubError(said, reason="answer", endpoint=plain.endpoint, repo=asked.repo)

    def _is_commit(self, request: Any) -> bool:
        path = str(request.url.path)
        return request.method == "POST" and _COMMIT_PATH.search(path) is not None


def _as(kind: type[HubError], error: HubError) -> HubError:
    return kind(str(error), reason=error.reason, endpoint=error.endpoint, repo=error.repo)
