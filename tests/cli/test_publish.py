"""`specreg publish` from the outside: its own process, the client untouched, a hub on this machine."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Outcome
from tests.hub.server import LocalHub
from tests.hub.uploads import WRITER

ROOT = Path(__file__).parent.parent.parent
PICO = ROOT / "heads" / "pico"
REPO = "me/heads"
RUN = "second-weight6-layer3"
NAME = f"pico-little--to--pico-target/{RUN}"
CATALOG = f"""
version: 1
sources:
  mine: {{path: ./my-heads}}
heads:
  - {{source: pico-little, target: pico-target, run: {RUN}, from: mine}}
"""
ENDED = "-- that command ended"
RUN_HERE = f"""
from registry.cli import main
try:
    main({{}})
except SystemExit as ended:
    assert not ended.code
print({ENDED!r})
"""  # before a program that loads the same libraries, which takes seconds


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    """A hub without repositories."""
    with LocalHub(tmp_path / "served") as served:
        yield served


class Somebody:
    """A machine of its own folder, with a token that may write."""

    def __init__(self, folder: Path, hub: LocalHub) -> None:
        folder.mkdir()
        self.folder = folder
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("HF_", "SPECREG_"))},
            "HF_ENDPOINT": hub.endpoint,
            "HF_HOME": str(folder / "huggingface"),
            "SPECREG_HOME": str(folder / "specreg"),
            "PYTHONPATH": str(ROOT),
        }

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run `specreg` in the folder."""
        return self._run("-m", "registry", *arguments, **environ)

    def python(self, program: str) -> subprocess.CompletedProcess[str]:
        """Run a program in the folder."""
        return self._run("-c", program)

    def _run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            env={**self._environ, **environ},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )


@pytest.fixture
def maker(tmp_path: Path, hub: LocalHub) -> Somebody:
    """Somebody with a head of their own for two models of the embedded family, recorded in `own.lock`."""
    made = Somebody(tmp_path / "maker", hub)
    shutil.copytree(
        PICO / "pico-little--to--pico-target" / "exp-weight6-layer3", made.folder / "my-heads" / NAME
    )
    (made.folder / "own.yaml").write_text(CATALOG)
    locked = made.run("lock", "own.yaml")
    assert locked.returncode == 0, locked.stderr
    return made


def test_a_published_head_comes_back(tmp_path: Path, hub: LocalHub, maker: Somebody) -> None:
    """
    What its own card shows runs elsewhere: it is taken in, downloaded, verified, decoded with, and loaded in Python.
    """
    sent = maker.run(*("publish", NAME, "--repo", REPO, "--create", "--catalog", "own.yaml"), HF_TOKEN=WRITER)
    assert sent.returncode == 0, sent.stderr
    card = (hub.root / REPO / NAME / "README.md").read_text()
    (commands,) = re.findall(r"```sh\n(.*?)```", card, re.DOTALL)
    (program,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    user = Somebody(tmp_path / "user", hub)

    *lines, last = [shlex.split(line)[1:] for line in commands.splitlines()]
    outcomes = [user.run(*arguments) for arguments in lines]
    decoded = user.python(f"{RUN_HERE.format(last)}{program}\nprint(*cascade.heads)")

    assert last[0] == "decode"
    assert [one.returncode for one in (*outcomes, decoded)] == [0] * 4, [one.stderr for one in outcomes]
    taken, downloaded, verified = outcomes
    assert f"new\t{NAME}" in taken.stdout
    assert "model.safetensors" in downloaded.stdout
    assert f"{NAME}: ok" in verified.stdout
    text, _, shown = decoded.stdout.partition(ENDED)
    assert text.strip()
    assert "pico-little" in decoded.stderr
    assert "AcceptancePredictionHead" in shown
    cache = user.folder / "huggingface" / "hub" / "models--me--heads" / "snapshots"
    (weights,) = cache.rglob("model.safetensors")
    assert weights.read_bytes() == (maker.folder / "my-heads" / NAME / "model.safetensors").read_bytes()


def test_the_address_of_the_commit_comes_last(hub: LocalHub, maker: Somebody) -> None:
    """
    The last line of stdout leads to the commit, and neither stream holds the token.
    """
    sent = maker.run(*("publish", NAME, "--repo", REPO, "--create", "--catalog", "own.yaml"), HF_TOKEN=WRITER)

    (commit,) = hub.uploads.commits
    assert sent.stdout.splitlines()[-1] == f"{hub.endpoint}/{REPO}/commit/{commit['commit']}"
    assert f"created\t{REPO}" in sent.stdout
    assert WRITER not in sent.stdout + sent.stderr


def test_json_is_the_whole_of_stdout(maker: Somebody) -> None:
    """
    `--json` gives one document with the commit, its address and every file.
    """
    sent = maker.run(
        *("publish", NAME, "--repo", REPO, "--create", "--json", "--catalog", "own.yaml"), HF_TOKEN=WRITER
    )

    document = json.loads(sent.stdout)
    assert document["status"] == "published"
    assert document["url"].endswith(f"/{REPO}/commit/{document['commit']}")
    assert {file["path"] for file in document["files"]} >= {f"{NAME}/model.safetensors", "README.md"}


@pytest.mark.parametrize(
    ("arguments", "environ", "code", "said"),
    [
        ((), {"HF_TOKEN": WRITER}, 2, "shows no repository me/heads"),
        (("--create",), {}, 2, "`hf auth login` stores one"),
        (("--create",), {"HF_TOKEN": "hf_stranger"}, 2, "does not accept the token"),
        (("--create",), {"HF_TOKEN": WRITER, "HF_HUB_OFFLINE": "1"}, 2, "Unset it to publish"),
        (("--private",), {"HF_TOKEN": WRITER}, 2, "give both, or neither"),
        (("--message", " "), {"HF_TOKEN": WRITER}, 2, "expected a line of text"),
    ],
    ids=["no repository", "no token", "wrong token", "offline", "private alone", "no message"],
)
def test_what_keeps_it_from_being_published_is_one_sentence(
    hub: LocalHub, maker: Somebody, arguments: tuple[str, ...], environ: dict[str, str], code: int, said: str
) -> None:
    """
    Wrong usage, and a Hub that may not be written to, end with 2 and a word on what to do; nothing is committed.
    """
    found = maker.run("publish", NAME, "--repo", REPO, "--catalog", "own.yaml", *arguments, **environ)

    assert found.returncode == code
    assert said in found.stderr
    assert found.stdout == ""
    assert "hf_" not in found.stderr
    assert hub.uploads.commits == []


def test_a_faulty_head_ends_with_a_fault(hub: LocalHub, maker: Somebody) -> None:
    """
    What `verify` refuses ends with 1, before the Hub is asked anything.
    """
    weights = maker.folder / "my-heads" / NAME / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])

    found = maker.run("publish", NAME, "--repo", REPO, "--catalog", "own.yaml", HF_TOKEN=WRITER)

    assert found.returncode == 1
    assert "model.safetensors: expected 446920 bytes, got 446919" in found.stderr
    assert hub.requests == []


def test_a_dry_run_shows_all_and_asks_nothing(specreg: Callable[..., Outcome]) -> None:
    """
    Every file with its bytes, then the card; neither a token nor the Hub's client is needed.
    """
    found = specreg(
        "publish", "pico-little--to--pico-draft", "--repo", REPO, "--dry-run", "--license", "apache-2.0"
    )

    lines = found.out.splitlines()
    assert found.code == 0
    assert lines[0].split("\t") == ["status", "path", "bytes", "sha256"]
    assert any(line.split("\t")[2:3] == ["446920"] for line in lines)
    assert "license: apache-2.0" in lines
    assert "## How to use" in lines


def test_a_dry_run_loads_no_client() -> None:
    """
    Neither the Hub's client nor torch is imported for a dry run.
    """
    code = (
        "import sys\n"
        "from registry.cli import main\n"
        "try: main(['publish', 'pico-little--to--pico-draft', '--repo', 'me/heads', '--dry-run'])\n"
        "except SystemExit as end: assert end.code in (0, None), end.code\n"
        "assert not {'huggingface_hub', 'torch', 'sqlmodel'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def test_a_dry_run_has_a_document(specreg: Callable[..., Outcome]) -> None:
    """
    `--dry-run --json` gives files, bytes and card.
    """
    found = specreg("publish", "pico-little--to--pico-draft", "--repo", REPO, "--dry-run", "--json")

    document = json.loads(found.out)
    assert document["dry_run"] is True
    assert document["bytes"] == sum(file["size_bytes"] for file in document["files"])
    assert document["card"].startswith("---\nlicense: mit\n")


@pytest.mark.parametrize("repo", ["heads", "../heads", "a/b/c", "me/heads.git", "me/he ads", ""])
def test_what_is_no_repository_is_wrong_usage(specreg: Callable[..., Outcome], repo: str) -> None:
    """
    `--repo` takes owner/name and nothing that leads elsewhere.
    """
    found = specreg("publish", "pico-little--to--pico-draft", "--repo", repo, "--dry-run")

    assert found.code == 2
    assert "owner/name" in found.err
