"""Where a figure comes from: what ran, on what, and at which commit: that of the files that ran, or none."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch
import transformers

from heads import Cascade
from heads.bench.provenance import commit_of, provenance
from tests.heads.models import chain


def git(folder: Path, *words: str) -> str:
    """What git answers there."""
    command = ("git", "-c", "user.name=A", "-c", "user.email=a@example.org", *words)
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return found.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One commit of one file, `kept/a.py`."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "a.py").write_text("A = 1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "a")
    return tmp_path


def test_a_folder_that_is_kept_there_has_the_commit_of_its_repository(repository: Path) -> None:
    """
    All forty digits, so that it is found again.
    """
    assert commit_of(repository / "kept") == git(repository, "rev-parse", "HEAD")


def test_what_differs_from_the_commit_is_not_passed_off_as_it(repository: Path) -> None:
    """
    A changed file is said beside the commit.
    """
    (repository / "kept" / "a.py").write_text("A = 2\n")

    assert commit_of(repository / "kept") == f"{git(repository, 'rev-parse', 'HEAD')}+changes"


def test_a_folder_in_somebody_elses_repository_has_no_commit(repository: Path) -> None:
    """
    A package that was installed within a project is no part of it.
    """
    installed = repository / ".venv" / "package"
    installed.mkdir(parents=True)
    (installed / "b.py").write_text("B = 1\n")

    assert commit_of(installed) is None


def test_a_folder_outside_of_any_repository_has_no_commit(tmp_path: Path) -> None:
    """
    Git says so on its own, and nothing is raised.
    """
    assert commit_of(tmp_path) is None
    assert commit_of(tmp_path / "none") is None


def test_what_ran_is_told_model_by_model() -> None:
    """
    Its engine, dtype and size, smallest model first; beside them the versions, the machine and its threads.
    """
    little, target = chain(count=2)
    target.bfloat16()
    cascade = Cascade([little, target], engine="captured")

    told = provenance(cascade)

    assert told["engines"] == ["captured", "captured"]
    assert told["dtype"] == ["float32", "bfloat16"]
    assert told["parameters"] == [little.num_parameters(), target.num_parameters()]
    assert (told["torch"], told["transformers"]) == (torch.__version__, transformers.__version__)
    assert (told["device"], told["threads"]) == ("cpu", torch.get_num_threads())
    assert {"measured_at", "specreg", "commit", "python", "system", "processor", "cores"} <= set(told)
