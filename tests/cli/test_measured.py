"""What `specreg measure` prints of what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from registry.cli.measure import _print_edges, _print_models
from registry.planning.measurement import Measurement

RESULTS = Path(__file__).parents[2] / "heads" / "results"


def test_steps_ahead_of_the_host_have_columns_where_there_are_any(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Measured on a GPU: what a step takes, and a question in it; the target drafts for nobody ahead.
    """
    document = json.loads((RESULTS / "h200-pico-measure-bfloat16.json").read_text())
    found = [Measurement.model_validate_json(json.dumps(one)) for one in document["measurements"]]

    _print_models(found)
    _print_edges(found)

    models, edges = (
        [line.split("\t") for line in part.splitlines()] for part in capsys.readouterr().out.split("\n\n")
    )
    assert models[0][-2:] == ["ms a step ahead, greedy", "sampled"]
    assert models[1][0] == "pico-little"
    assert models[1][-2:] == ["0.20", "0.21"]
    place = edges[0].index("ms a question ahead, greedy")
    assert edges[1][place : place + 2] == ["0.038", "0.060"]
