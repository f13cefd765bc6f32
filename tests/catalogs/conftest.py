"""A hub with a collection of heads, and a user's own catalog that names some of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from registry.hub import wire
from tests.hub.server import LocalHub
from tests.registry.stored import write_head

REPO = "someone/some-heads"
FIRST = "little--to--middle/exp-weight6-layer2"
SECOND = "middle--to--large/exp-weight6-layer2"
CATALOG = """\
version: 1 # the schema

sources:
  # what I trained
  theirs: {hub: someone/some-heads, revision: main} # on the Hub

models:
  little: {hub: org/little, hidden_size: 4}
  # between the two
  middle: {hub: org/middle, hidden_size: 4}
  large: {hub: org/large}

heads:
  # the first
  - {source: little, target: middle, run: exp-weight6-layer2, from: theirs}
"""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """The hub; commands in this process speak to it."""
    root = tmp_path / "served"
    for name in (FIRST, SECOND):
        write_head(root / REPO / name)
        (root / REPO / name / "README.md").write_text(f"# {name}\n")
    (root / REPO / "README.md").write_text("# Heads\n")
    model = root / "org" / "little"
    model.mkdir(parents=True)
    (model / "config.json").write_text(json.dumps({"hidden_size": 4}))
    (model / "model.safetensors").write_bytes(b"weights")
    (model / "consolidated.00.pth").write_bytes(b"never wanted")
    with LocalHub(root) as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.endpoint)
        monkeypatch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            served.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        )
        monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(_known_harnesses(tmp_path)))
        monkeypatch.setattr(wire, "BACKOFF_S", (0.01, 0.01, 0.01))
        monkeypatch.setenv("HF_ENDPOINT", served.endpoint)
        yield served


def _known_harnesses(folder: Path) -> Path:
    """The client asks once a day which programs may be driving it; here it knows already."""
    path = folder / "harnesses.json"
    path.write_text('{"none": {}}')
    return path


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A user's catalog with comments: three models, and the first head."""
    path = tmp_path / "own.yaml"
    path.write_text(CATALOG)
    return path
