"""Each way in which the Hub cannot be asked or does not answer, in one sentence and a next step.

The sentences quote nothing that a server wrote, and no address with a password in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from registry.errors import HubError, HubReason

_UNNAMED: Final = "The address in HF_ENDPOINT"
_PLAIN = re.compile(r"https?://(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?(?:/[\w./~%-]*)?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """What was asked of whom, and what came of it.

    `problem` is our own word for it; `wait_s` is how long the server asks to wait; `moved_to` is the
    repository's new name.
    """

    reason: HubReason
    endpoint: str
    repo: str = ""
    revision: str = ""
    path: str = ""
    timeout_s: float = 60.0
    problem: str = ""
    wait_s: float = 0.0
    moved_to: str = ""

    def error(self) -> HubError:
        """The error to raise."""
        return HubError(_sentence(self), reason=self.reason, endpoint=self.where, repo=self.repo)

    @property
    def where(self) -> str:
        """The endpoint without user name and password; no word of it where these cannot be told from the rest."""
        scheme, mark, rest = self.endpoint.partition("://")
        shown = f"{scheme}{mark}{rest.rpartition('@')[2]}"
        return shown if _PLAIN.fullmatch(shown) and not re.search("[?#].*@", rest) else _UNNAMED

    @property
    def what(self) -> str:
        """The file, or the repository, that was asked for."""
        return f"{self.path} of {self.repo}" if self.path else self.repo

    @property
    def later(self) -> str:
        """How long the server asks to wait, where that is too long."""
        return f" It asks to wait {self.wait_s:.0f} s." if self.wait_s > self.timeout_s else ""


def require_address(endpoint: str) -> None:
    """Raise for an endpoint that nobody can be asked at, whatever the network is like.

    Raises:
        HubError: `unreachable`, with what is wrong with the address and no word of its user name or password.
    """
    problem = _address_fault(endpoint)
    if problem:
        raise Refusal(reason="unreachable", endpoint=endpoint, problem=problem).error()


def _address_fault(endpoint: str) -> str:
    try:
        parts = urlsplit(endpoint)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "its host or port cannot be read (in a password / is written %2F, and @ %40)"
    if parts.scheme not in ("http", "https"):
        return "it does not begin with http:// or https://"
    if not host or not endpoint.isprintable() or " " in endpoint:
        return "it names no host, or holds what no address can"
    if "?" in endpoint or "#" in endpoint or "@" in parts.path:
        return "expected https://HOST[:PORT][/PATH] (in a password / is written %2F, ? %3F and # %23)"
    return ""


def _sentence(no: Refusal) -> str:
    sentences: dict[HubReason, str] = {
        "offline": "The Hub was not asked, because HF_HUB_OFFLINE is set. Unset it to download.",
        "unreachable": f"{no.where} cannot be reached: {no.problem}. "
        "Check the network, the proxy and HF_ENDPOINT.",
        "timeout": f"{no.where} sent nothing for {no.timeout_s:g} s when asked for {no.what}. "
        "Try again, or wait longer with --timeout.",
        "broken": f"The transfer of {no.what} from {no.where} broke off: {no.problem}. Try again.",
        "stuck": f"The transfer of {no.what} from {no.where} gets nowhere: {no.problem}. Try again later.",
        "held": f"Another process is downloading {no.what} and has got nowhere for {no.timeout_s:g} s. "
        "End it, or wait longer with --timeout.",
        "disk": f"{no.what} could not be written to the Hub's cache: {no.problem}. "
        "Mend that, or point HF_HOME elsewhere.",
        "answer": f"{no.where} does not answer as the Hub does, asked for {no.what}: {no.problem}. "
        "Check HF_ENDPOINT, and whether a proxy or a sign-in page stands between.",
        "busy": f"{no.where} turns requests away for now (429).{no.later} Try again later.",
        "server": f"{no.where} failed when asked for {no.what} ({no.problem}).{no.later} "
        "The fault is on its side: try again later.",
        "repository": f"{no.where} shows no repository {no.repo}: there is none, or the token that was sent, "
        "if any, may not see it. Check its name in the catalog.",
        "private": f"{no.where} does not show {no.repo} to a stranger (401): it is private, or there is none. "
        "`hf auth login` with an account that may read it, or check its name in the catalog.",
        "moved": f"{no.repo} has moved to {no.moved_to}. Write that name in the catalog.",
        "revision": f"{no.repo} has no revision {no.revision}. "
        "Check `revision` in the catalog, and the commit in its lock. `specreg discover` tells what the sources of "
        "heads hold now, and how to take that in.",
        "file": f"{no.repo} has no {no.path} at {no.revision}. Check its path and revision in the catalog.",
        "gated": f"{no.repo} is gated. Ask for access at {no.where}/{no.repo}, then `hf auth login`.",
        "token": f"{no.where} does not accept the token it was sent (401). `hf auth login` stores another.",
        "unsendable": f"The token of `hf auth login` cannot be read: {no.problem}. Nothing was asked. "
        "Check HF_HOME and HF_TOKEN_PATH, or store another by `hf auth login`."
        if no.problem
        else "The token of HF_TOKEN or of `hf auth login` holds characters that no request can "
        "carry, and was not sent. `hf auth login` stores another.",
        "forbidden": f"{no.where} forbids to read {no.repo} (403). "
        "Use a token with the right to read it: `hf auth login`.",
        "stopped": f"The transfer of {no.what} was stopped. The same command goes on from there.",
    }
    return sentences[no.reason]
