"""Each way in which the Hub cannot be asked, in its own sentence."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from huggingface_hub import constants

from registry.errors import HubError
from registry.hub import wire
from registry.lock import lock_folder
from registry.records import Source
from tests.hub.conftest import EDGE, REPO, Machine
from tests.hub.server import LocalHub, Refusal, Reset

TOKEN = "hf_" + "secret" * 6


def refused(machine: Machine, **options: float) -> HubError:
    """How the download ends."""
    with pytest.raises(HubError) as caught:
        machine.download(**options)  # type: ignore[arg-type]
    assert caught.value.exit_code == 2
    assert TOKEN not in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("refusal", "reason", "words"),
    [
        (Refusal(status=404, code="RepoNotFound"), "repository", "shows no repository org/heads"),
        (Refusal(status=401), "private", "it is private, or there is none"),
        (Refusal(status=401, code="RepoNotFound"), "private", "it is private, or there is none"),
        (Refusal(status=404, code="RevisionNotFound"), "revision", "has no revision main"),
        (
            Refusal(status=403, code="GatedRepo"),
            "gated",
            "Ask for access at .*/org/heads, then `hf auth login`",
        ),
        (Refusal(status=403), "forbidden", "forbids to read org/heads"),
        (Refusal(status=404, where="/resolve/", code="EntryNotFound"), "file", f"has no {EDGE}/config.json"),
        (Refusal(status=500), "server", "failed when asked for org/heads .status 500"),
        (Refusal(status=503, where="/cdn/"), "server", "status 503"),
        (Refusal(status=429), "busy", "turns requests away"),
        (Refusal(status=418), "answer", "does not answer as the Hub does"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_every_refusal_has_its_sentence(
    machine: Machine, hub: LocalHub, refusal: Refusal, reason: str, words: str
) -> None:
    """
    What was refused, and what to do about it.
    """
    hub.faults.refusals = [refusal]

    error = refused(machine)

    assert error.reason == reason
    assert error.repo == REPO
    assert re.search(words, str(error))


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_failure_is_tried_again(machine: Machine, hub: LocalHub, status: int) -> None:
    """
    Three failures in a row are got over.
    """
    hub.faults.refusals = [Refusal(status=status, times=3)]

    assert machine.download().files


def test_a_wait_that_is_too_long_is_not_waited(machine: Machine, hub: LocalHub) -> None:
    """
    `Retry-After: 3600` is told, not obeyed.
    """
    hub.faults.refusals = [Refusal(status=429, headers={"Retry-After": "3600"})]
    started = time.monotonic()

    error = refused(machine)

    assert "wait 3600 s" in str(error)
    assert time.monotonic() - started < 600


@pytest.mark.parametrize("where", ["/revision/", "/tree/", "/resolve/", "/cdn/"])
def test_a_hub_that_says_nothing_is_given_up(machine: Machine, hub: LocalHub, where: str) -> None:
    """
    No request waits longer than it may.
    """
    hub.faults.stalled = where

    error = refused(machine, timeout_s=0.3)

    assert error.reason == "timeout"


def test_a_closed_port_is_said_at_once(machine: Machine) -> None:
    """
    Nobody listens: no retry helps.
    """
    machine.hub.endpoint = "http://127.0.0.1:9"

    error = refused(machine)

    assert error.reason == "unreachable"


def test_offline_is_said_without_a_request(
    machine: Machine, hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    HF_HUB_OFFLINE is named, and the Hub is not asked.
    """
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    error = refused(machine)

    assert (error.reason, hub.requests) == ("offline", [])
    assert "HF_HUB_OFFLINE" in str(error)


def test_a_page_in_place_of_json_is_refused(machine: Machine, hub: LocalHub) -> None:
    """
    The sign-in page of a network is no listing.
    """
    hub.faults.content_type = "text/html"

    assert refused(machine).reason == "answer"


@pytest.mark.parametrize(
    "row",
    [{}, {"type": "file"}, {"type": "file", "path": EDGE + "/config.json", "size": -1, "oid": "0" * 40}, 7],
    ids=["empty", "bare", "negative", "number"],
)
def test_a_listing_that_makes_no_sense_is_refused(machine: Machine, hub: LocalHub, row: object) -> None:
    """
    JSON of another shape than the Hub's is no listing.
    """
    hub.faults.rows = lambda rows: [row, *rows]  # type: ignore[list-item]

    assert refused(machine).reason == "answer"


@pytest.mark.parametrize(
    "commit", ["../../../x", "main", "F" * 40, "0" * 39], ids=["dots", "name", "case", "short"]
)
def test_a_commit_that_is_none_is_refused(machine: Machine, hub: LocalHub, commit: str) -> None:
    """
    A branch has to stand at 40 hex digits.
    """
    hub.faults.commit = commit

    assert refused(machine).reason == "answer"
    assert not machine.cache.exists()


def test_a_token_that_is_not_accepted_is_not_printed(
    machine: Machine, hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    401 with a token is about the token, which no message quotes.
    """
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.faults.refusals = [Refusal(status=401)]

    assert refused(machine).reason == "token"


def test_a_token_goes_to_the_hub_alone(
    machine: Machine, hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The storage that files are redirected to does not see it.
    """
    monkeypatch.setenv("HF_TOKEN", TOKEN)

    machine.download()

    seen = {host.partition(":")[0]: token for host, token in hub.tokens}
    assert seen == {"127.0.0.1": f"Bearer {TOKEN}", "localhost": None}


def test_a_next_page_elsewhere_gets_no_token(
    machine: Machine, hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A listing may not lead the token to another host.
    """
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.faults.page, hub.faults.link = 1, f"http://localhost:{hub.port}/api/models/x/y/tree/main"

    assert "the token was not sent" in str(refused(machine))
    assert {host.partition(":")[0] for host, _ in hub.tokens} == {"127.0.0.1"}


def test_the_client_is_given_back_as_it_was(machine: Machine) -> None:
    """
    Whoever uses the Hub's client after us finds its own settings.
    """
    import logging

    from huggingface_hub.utils import _http

    def before() -> tuple[Callable[..., object], int]:
        return _http._GLOBAL_CLIENT_FACTORY, logging.getLogger("huggingface_hub").level

    found = before()
    machine.download()

    assert before() == found


def test_a_repository_that_moved_is_said(machine: Machine, hub: LocalHub) -> None:
    """
    The Hub redirects to the new name, which the catalog should bear.
    """
    (hub.root / REPO).rename(hub.root / "org" / "renamed")
    hub.faults.moved = {REPO: "org/renamed"}

    error = refused(machine)

    assert (error.reason, str(error)) == (
        "moved",
        "org/heads has moved to org/renamed. Write that name in the catalog.",
    )


def test_a_pinned_file_of_a_repository_that_moved_is_said_too(machine: Machine, hub: LocalHub) -> None:
    """
    With a lock the first question is about a file, and is redirected as well.
    """
    entry = lock_folder(hub.root / REPO / EDGE, commit=hub.commit(REPO))
    machine.lock = machine.lock.with_head(EDGE, entry)
    (hub.root / REPO).rename(hub.root / "org" / "renamed")
    hub.faults.moved = {REPO: "org/renamed"}

    assert refused(machine).reason == "moved"


def test_a_token_that_no_header_can_carry_is_not_quoted(
    machine: Machine, hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The HTTP library would quote it; it is turned away before.
    """
    monkeypatch.setenv("HF_TOKEN", f"{TOKEN}\x01")

    error = refused(machine)

    assert (error.reason, hub.requests) == ("unsendable", [])


def test_xet_storage_is_not_used(machine: Machine, hub: LocalHub) -> None:
    """
    A file that the Hub offers by Xet too comes over HTTP, where our time-outs hold.
    """
    hub.faults.xet_hash = "a" * 64

    assert {file.status for file in machine.download().files} == {"fetched"}
    assert not [request for request in hub.requests if "xet" in request]


@pytest.mark.parametrize("where", ["/revision/", "/cdn/"])
def test_tries_and_waits_count_into_the_time_out(
    machine: Machine, hub: LocalHub, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """
    A Hub that fails again and again is given up after the time-out, not after the time-out of every try.
    """
    monkeypatch.setattr(wire, "BACKOFF_S", (0.4,) * 50)
    hub.faults.refusals = [Refusal(status=503, where=where)]
    begun = time.monotonic()

    error = refused(machine, timeout_s=1.0)

    assert error.reason in ("server", "timeout")
    assert time.monotonic() - begun < 10


def test_a_body_that_stalls_is_given_up(machine: Machine, hub: LocalHub) -> None:
    """
    Some bytes came, then none: after the time-out that is the end.
    """
    hub.put(REPO, f"{EDGE}/model.safetensors", bytes(range(256)) * 2_000)
    hub.faults.pace_s = 30.0
    begun = time.monotonic()

    error = refused(machine, timeout_s=1.0)

    assert error.reason == "timeout"
    assert time.monotonic() - begun < 15


def test_slow_is_not_stalled(machine: Machine, hub: LocalHub) -> None:
    """
    A transfer that takes longer than the time-out goes on as long as bytes come.
    """
    hub.put(REPO, f"{EDGE}/model.safetensors", bytes(range(256)) * 2_000)
    hub.faults.pace_s = 0.3

    assert machine.download(timeout_s=1.5).files


def test_a_revision_the_catalog_made_up_is_said(machine: Machine) -> None:
    """
    A branch that is not there is named.
    """
    source = Source(hub=REPO, revision="no/such-branch")
    machine.catalog = machine.catalog.model_copy(update={"sources": {"published": source}})

    assert "no/such-branch" in str(refused(machine))


PLACES = {
    "commit": Reset(where="GET /api/models/org/heads/revision/"),
    "listing": Reset(where="GET /api/models/org/heads/tree/"),
    "headers": Reset(where="HEAD /org/heads/resolve/"),
    "file": Reset(where="GET /cdn/"),
    "body": Reset(where="GET /cdn/", after=2_000),
}


@pytest.mark.parametrize("reset", PLACES.values(), ids=PLACES)
def test_a_connection_that_was_reset_is_made_again(machine: Machine, hub: LocalHub, reset: Reset) -> None:
    """
    Torn down twice, wherever that happens, the download comes through.
    """
    content = bytes(range(256)) * 40
    hub.put(REPO, f"{EDGE}/model.safetensors", content)
    hub.faults.resets = [replace(reset, times=2)]

    machine.download()

    assert hub.faults.resets[0].times == 0
    assert (machine.snapshot / "model.safetensors").read_bytes() == content
    if reset.after is not None:  # and what came before is not asked for again
        assert hub.ranges == ["bytes=2000-", "bytes=4000-"]


@pytest.mark.parametrize("reset", PLACES.values(), ids=PLACES)
def test_connections_that_are_reset_each_time_end_in_a_sentence(
    machine: Machine, hub: LocalHub, reset: Reset
) -> None:
    """
    The tries are counted, and the last tells that the transfer broke off.
    """
    hub.put(REPO, f"{EDGE}/model.safetensors", bytes(range(256)) * 400)
    hub.faults.resets = [replace(reset)]

    error = refused(machine)

    assert error.reason == "broken"
    assert "broke off" in str(error)
    assert not (machine.snapshot / "model.safetensors").exists()


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://host:abc",
        "http://[::1",
        "http://user:SEK/RET@h",
        "http://user:80/SEKRET@h",
        "http://user:SEK?RET@h",
        "http://user:SEK#RET@h",
        "http://user:SEKRET",
        "http://h/?key=SEK@RET",
        "user:SEKRET@h",
        "ftp://user:SEKRET@h",
        "http://",
        "http://a b",
    ],
)
def test_an_address_that_is_none_is_said_without_its_password(machine: Machine, endpoint: str) -> None:
    """
    The Hub's client would break on it, or ask another host; and no part of the user's name and word is printed.
    """
    machine.hub.endpoint = endpoint

    error = refused(machine)

    assert error.reason == "unreachable"
    assert "HF_ENDPOINT" in str(error)
    for part in ("SEK", "RET", "user"):
        assert part not in f"{error} {error.endpoint}"


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        ("socks5://user:SEKRET@127.0.0.1:1", "needs a package|cannot be reached"),
        ("foo://user:SEKRET@127.0.0.1:1", "the address of its proxy cannot be used"),
        ("http://user:SEK/RET@127.0.0.1:1", "the address of its proxy cannot be used"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_said(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, proxy: str, words: str
) -> None:
    """
    The proxy is the next thing to look at, and its password is not repeated.
    """
    monkeypatch.setenv("ALL_PROXY", proxy)
    monkeypatch.setenv("NO_PROXY", "")

    error = refused(machine)

    assert error.reason == "unreachable"
    assert re.search(words, str(error))
    assert "SEK" not in str(error)


def test_certificates_that_are_not_there_are_said(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    They are no fault of the cache's disk.
    """
    monkeypatch.setenv("SSL_CERT_FILE", str(machine.folder / "none.pem"))

    error = refused(machine)

    assert error.reason == "unreachable"
    assert "SSL_CERT_FILE" in str(error)


@pytest.mark.parametrize("content", [None, b"\xff"], ids=["a folder", "no text"])
def test_a_token_that_cannot_be_read_is_said(
    machine: Machine, hub: LocalHub, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    """
    Where the token's file cannot be read, the Hub is not asked without it.
    """
    file = machine.folder / "token"
    file.mkdir() if content is None else file.write_bytes(content)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(file))

    error = refused(machine)

    assert (error.reason, hub.requests) == ("unsendable", [])
    assert "HF_TOKEN_PATH" in str(error)
