"""How the command ends: a sentence and an exit code, whatever went wrong, and no traceback but for --debug."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.conftest import Outcome
from tests.registry.stored import write_head

Run = Callable[..., Outcome]
OWN = """
version: 1
sources:
  mine: {path: .}
heads:
  - {source: pico-little, target: pico-draft, run: mine, from: mine}
"""
DOWNLOAD = ("download", "qwen3-0.6b", "qwen3-14b")


def in_a_process(
    *arguments: str, stdout: int = subprocess.PIPE, environ: Mapping[str, str] = MappingProxyType({})
) -> Outcome:
    """Run a command in a process of its own; its stdout is kept unless it goes elsewhere."""
    ended = subprocess.run(
        [sys.executable, "-m", "registry", *arguments],
        env={**os.environ, **environ},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    return Outcome(code=ended.returncode, out=ended.stdout or "", err=ended.stderr)


def assert_one_sentence(found: Outcome, *words: str) -> None:
    """Exit 2, one line on stderr, and these words in it."""
    assert found.code == 2
    assert found.err.startswith("specreg: ")
    assert found.err.count("\n") == 1
    for word in words:
        assert word in found.err


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"HF_ENDPOINT": "http://host:abc"}, ("HF_ENDPOINT", "host or port")),
        ({"HF_ENDPOINT": "http://[::1"}, ("HF_ENDPOINT", "host or port")),
        ({"HF_ENDPOINT": "http://user:sek/ret@h"}, ("http://h cannot be reached", "%2F")),
        ({"HF_HOME": "/dev/null/x"}, ("HF_HOME", "Not a directory")),
        ({"ALL_PROXY": "foo://user:sekret@127.0.0.1:1"}, ("the address of its proxy cannot be used",)),
    ],
    ids=["port", "bracket", "slash in the password", "home", "proxy"],
)
def test_what_is_wrong_around_a_download_is_one_sentence(
    environ: dict[str, str], words: tuple[str, ...]
) -> None:
    """
    An address, a home or a proxy that is none stops a download with its name, and without its password.
    """
    found = in_a_process(*DOWNLOAD, environ={"HF_ENDPOINT": "http://127.0.0.1:9", **environ})

    assert_one_sentence(found, *words)
    assert "sek" not in found.err


def test_a_proxy_that_needs_another_package_is_one_sentence() -> None:
    """
    A SOCKS proxy without its package says so; with it, that nobody is there.
    """
    around = {"ALL_PROXY": "socks5://127.0.0.1:1", "HF_ENDPOINT": "http://192.0.2.1"}

    found = in_a_process(*DOWNLOAD, environ=around)

    assert_one_sentence(found, "cannot be reached", "the proxy")


def test_a_full_disk_under_the_output_is_one_sentence() -> None:
    """
    What cannot be written is told, and the interpreter adds nothing at its end.
    """
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        found = in_a_process("list", stdout=full)
    finally:
        os.close(full)

    assert_one_sentence(found, "OSError, No space left on device", "--debug")


@pytest.mark.parametrize("arguments", [("list",), ("list", "--json"), ("--help",)], ids=" ".join)
def test_a_reader_that_has_enough_is_no_fault(arguments: tuple[str, ...]) -> None:
    """
    `specreg list | head -1` ends quietly, and as sound.
    """
    reading, writing = os.pipe()
    os.close(reading)
    try:
        found = in_a_process(*arguments, stdout=writing)
    finally:
        os.close(writing)

    assert (found.code, found.err) == (0, "")


def test_a_reader_that_has_enough_hides_no_fault(tmp_path: Path) -> None:
    """
    `specreg lock mine.yaml --check | head -1` ends as it does without a pipe, even if nobody reads a word of it.
    """
    write_head(tmp_path / "pico-little--to--pico-draft" / "mine")
    own = tmp_path / "mine.yaml"
    own.write_text(OWN)
    reading, writing = os.pipe()
    os.close(reading)
    try:
        found = in_a_process("lock", str(own), "--check", stdout=writing)
    finally:
        os.close(writing)

    assert (found.code, found.err) == (1, "")


def test_what_is_only_to_be_read_ends_with_its_reader() -> None:
    """
    `specreg decode ... | head -1` does not decode on for nobody, and is no fault.
    """
    code = "from registry.cli.entry import main; from registry.cli.streams import settle_streams as settle; settle(); "
    code += "import registry.cli.decode as module; module.decode.callback = lambda **_: print('a word') or (1 / 0)"
    code += "; main(['decode', 'pico-target'])"
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run([sys.executable, "-u", "-c", code], stdout=writing, check=False)
    finally:
        os.close(writing)

    assert ended.returncode == 0


def test_a_store_with_an_address_that_is_none_is_one_sentence() -> None:
    """
    A bracket too many in the URL is told without the password.
    """
    around = {"SPECREG_DATABASE_URL": "postgresql://u:sekret@[bad/db"}

    found = in_a_process("store", "show", environ=around)

    assert_one_sentence(found, "SPECREG_DATABASE_URL")
    assert "sekret" not in found.err


def unforeseen() -> OSError:
    """An error of the system with a file's name."""
    return PermissionError(13, "Permission denied", "/some/file")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (unforeseen(), "PermissionError, Permission denied: /some/file"),
        (ValueError("sekret"), "ValueError"),
        (ImportError("no module of that name: sekret"), "ImportError"),
    ],
    ids=["system", "value", "import"],
)
def test_what_nobody_foresaw_is_told_by_its_kind(
    specreg: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    """
    One sentence and exit 2, without the error's own text; with --debug the traceback before it, and the same code.
    """

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("registry.shelf.Shelf.open", fail)

    found = specreg("list")

    assert_one_sentence(found, words, "--debug")
    assert "sekret" not in found.err
    shown = specreg("list", "--debug")
    assert (shown.code, shown.err.startswith("Traceback")) == (2, True)
    assert shown.err.endswith(found.err)
    assert f"{type(error).__name__}: {error}" in shown.err


@pytest.mark.parametrize(("arguments", "code"), [(("show", "nothing"), 1), (("list", "--catalog", "no"), 2)])
def test_debug_changes_no_exit_code(specreg: Run, arguments: tuple[str, ...], code: int) -> None:
    """
    A fault stays a fault, and what could not look stays that; the traceback is told before the sentence.
    """
    plain, shown = specreg(*arguments), specreg(*arguments, "--debug")

    assert (plain.code, shown.code) == (code, code)
    assert shown.err.startswith("Traceback")
    assert shown.err.endswith(plain.err)
