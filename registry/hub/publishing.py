"""A head into a repository of the Hub: looked at first, committed, and looked at again.

A head whose files lie there with the same bytes is told, and left alone; other bytes of the same run give way only
when that is asked for. Every commit names its parent, so that nobody else's change is lost: where the branch has
moved on, or nobody said what became of a commit, the repository is looked at anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from registry.errors import CheckpointError, HubError
from registry.files.filenames import WEIGHTS
from registry.hub import wire
from registry.hub.standing import SentFile, Standing, is_listed, look
from registry.hub.uploading import Commit, MovedOnError, UnansweredError, UploadHub
from registry.publication import Publication
from registry.records import Record

PublishStatus = Literal["published", "proposed", "already there"]


class Published(Record):
    """What publishing did. `confirmed` tells whether the Hub's own listing was seen to show what was sent.

    `commit` is the one that was made, or that main stands at where there was nothing to do; `url` leads there.
    """

    head: str
    repo: str
    status: PublishStatus
    commit: str
    url: str
    pull_request: int | None = None
    created: bool = False
    confirmed: bool = True
    files: tuple[SentFile, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The document of `specreg publish --json`."""
        return {"dry_run": False, **self.model_dump(mode="json")}


@dataclass(frozen=True, kw_only=True)
class _Errand:
    """What is to be published, where, and how."""

    hub: UploadHub
    publication: Publication
    repo: str
    message: str | None
    pull_request: bool
    replace: bool

    def run(self) -> Published:
        """Look and commit, again where somebody else was faster or where no answer came."""
        lost: Standing | None = None
        for pause_s in (*wire.BACKOFF_S, None):
            standing = look(self.hub, self.repo, self.publication, replace=self.replace)
            if standing.settled:
                return self._already(standing) if lost is None else self._found(lost, standing.commit)
            try:
                return self._confirmed(standing, self._committed(standing))
            except MovedOnError as error:
                if pause_s is None:
                    raise self._outrun() from error
            except UnansweredError as error:
                if self.pull_request:  # asked for once more, there might be two
                    raise self._perhaps(error) from error
                if pause_s is None:
                    raise
                lost = standing
            self.hub.pause(pause_s)
        raise AssertionError("the last round returns or raises")

    def _committed(self, standing: Standing) -> Commit:
        publication = self.publication
        verb = "Replace" if standing.replaces else "Add"
        return self.hub.commit(
            self.repo,
            parent=standing.commit,
            files=standing.changes,
            removed=standing.removed,
            message=self.message or f"{verb} head {publication.folder}",
            description=f"{WEIGHTS}: sha256 {publication.sha256(WEIGHTS)}",
            pull_request=self.pull_request,
        )

    def _confirmed(self, standing: Standing, made: Commit) -> Published:
        """Hold the listing of the new commit against what was sent."""
        folder = self.publication.folder
        try:
            there = self.hub.files_by_name(self.repo, made.commit, folder)
        except HubError:  # it is committed all the same
            note = "it is committed, but the Hub could not be asked whether all of it is there"
            return self._told(standing, made, note=note, confirmed=False)
        sent = [name for name in self.publication.files if f"{folder}/{name}" in standing.changes]
        content = self.publication.files
        wrong = [name for name in sent if name not in there or not is_listed(content[name], there[name])]
        if wrong:
            raise CheckpointError(
                f"The commit {made.commit} of {self.repo} does not hold what was sent to {folder}: "
                f"{', '.join(wrong)}. Look at {self._url(made)}, and publish again with --replace.",
                path=folder,
                problems=wrong,
            )
        return self._told(standing, made)

    def _found(self, lost: Standing, commit: str) -> Published:
        note = "the Hub's answer to the commit was lost, and the files are there"
        return self._told(lost, Commit(commit=commit), note=note)

    def _told(
        self, standing: Standing, made: Commit, *, note: str | None = None, confirmed: bool = True
    ) -> Published:
        return Published(
            head=self.publication.folder,
            repo=self.repo,
            status="proposed" if self.pull_request else "published",
            commit=made.commit,
            url=self._url(made),
            pull_request=made.pull_request,
            confirmed=confirmed,
            files=standing.files,
            notes=standing.notes if note is None else (*standing.notes, note),
        )

    def _already(self, standing: Standing) -> Published:
        folder = self.publication.folder
        return Published(
            head=folder,
            repo=self.repo,
            status="already there",
            commit=standing.commit,
            url=f"{self.hub.where}/{self.repo}/tree/{standing.commit}/{folder}",
            files=standing.files,
        )

    def _url(self, made: Commit) -> str:
        """Where the commit or the pull request is seen; made here, and not taken from an answer."""
        if made.pull_request is not None:
            return f"{self.hub.where}/{self.repo}/discussions/{made.pull_request}"
        return f"{self.hub.where}/{self.repo}/commit/{made.commit}"

    def _perhaps(self, error: HubError) -> HubError:
        said = f"{error} The pull request may be open all the same: look at {self.hub.where}/{self.repo}/discussions."
        return HubError(said, reason=error.reason, endpoint=error.endpoint, repo=error.repo)

    def _outrun(self) -> HubError:
        return HubError(
            f"Others commit to {self.repo} faster than this does: main had moved on at every try, and nothing of "
            f"{self.publication.folder} was committed. Try again later, or propose it by --pull-request.",
            reason="busy",
            endpoint=self.hub.where,
            repo=self.repo,
        )


def publish(
    publication: Publication,
    repo: str,
    *,
    message: str | None = None,
    pull_request: bool = False,
    replace: bool = False,
    create: bool = False,
    private: bool = False,
    endpoint: str | None = None,
    timeout_s: float = 60.0,
) -> Published:
    """Send a head, as one commit or one pull request, and look whether it arrived.

    Args:
        publication: What `prepare` made.
        repo: `org/name`.
        message: First line of the commit; one that names the head when None.
        pull_request: Propose it to the owners of the repository instead.
        replace: Let other bytes of the same run give way.
        create: Make the repository where there is none.
        private: What is made is private.
        endpoint: Where the Hub is; as the client has it when None.
        timeout_s: Seconds without a byte after which a question is given up.

    Raises:
        HubError: The Hub could not be asked, or refused.
        UsageError: The run lies there with other bytes, or the repository ignores some of the files.
        CheckpointError: The Hub's listing does not show what was sent.
    """
    with (
        TemporaryDirectory(prefix="specreg-") as folder,
        UploadHub(cache=Path(folder), endpoint=endpoint, timeout_s=timeout_s, bars=False) as hub,
    ):
        created = create and hub.create(repo, private=private)
        errand = _Errand(
            hub=hub,
            publication=publication,
            repo=repo,
            message=message,
            pull_request=pull_request,
            replace=replace,
        )
        return errand.run().model_copy(update={"created": created})
