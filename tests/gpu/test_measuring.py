"""`specreg measure` on a CUDA device, and what `specreg plan` then says of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest
import torch

from heads.bench.prompts import own_prompts
from heads.measuring.setting import setup_of
from registry.cli import main
from registry.pipeline import resolve_pipeline
from registry.planning.estimate import Estimator
from registry.planning.known import known_of
from registry.planning.law import Law
from registry.planning.lengths import DraftLengths
from registry.planning.measurement import Measurement
from registry.planning.timing import EdgeTimes, ForwardTimes
from registry.store.measured import read_measurements
from tests.conftest import Outcome

pytestmark = pytest.mark.gpu
ENGINES = ("eager", "captured")
LITTLE, TARGET = "pico-little", "pico-target"
NEW_TOKENS = 48
SHORT = ("--quick", "--limit", "1", "--max-new-tokens", str(NEW_TOKENS))
CLOSE = {
    "captured": 0.2,
    "eager": 0.3,
}  # of what was foreseen; eagerly the host's own pace decides, which varies
TEXTS = 5


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, any_device: torch.device) -> Path:
    """A home whose store knows the embedded family there, by either engine."""
    folder = tmp_path_factory.mktemp("measured")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECREG_HOME", str(folder))
        for engine in ENGINES:
            with pytest.raises(SystemExit) as ended:
                main(["measure", LITTLE, TARGET, *SHORT, "--device", str(any_device), "--engine", engine])
            assert ended.value.code == 0
    return folder


@pytest.fixture
def found(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[Measurement]:
    """What that store holds."""
    monkeypatch.setenv("SPECREG_HOME", str(home))
    return list(read_measurements())


def forwards(found: list[Measurement], engine: str) -> dict[str, ForwardTimes]:
    """By subject."""
    return {
        one.subject: ForwardTimes.model_validate_json(json.dumps(one.document))
        for one in found
        if one.kind == "forwards" and one.setup.engine == engine
    }


@pytest.mark.parametrize("engine", ENGINES)
def test_times_are_positive_and_a_larger_model_takes_longer(found: list[Measurement], engine: str) -> None:
    """
    Sixteen layers take longer than two, for every length of query over every cache.
    """
    times = forwards(found, engine)
    edges = [
        EdgeTimes.model_validate_json(json.dumps(one.document))
        for one in found
        if one.kind == "rounds" and one.setup.engine == engine
    ]

    assert len(times) == 6
    assert len(edges) == 3
    assert all(one.seconds > 0 for model in times.values() for one in model.times)
    assert all(edge.question("greedy") > 0 and min(edge.verify.values()) >= 0 for edge in edges)
    for small, large in zip(times[LITTLE].times, times[TARGET].times, strict=True):
        assert (small.query, small.cached) == (large.query, large.cached)
        assert small.seconds < large.seconds, small


def test_graphs_are_faster_than_the_host(found: list[Measurement], any_device: torch.device) -> None:
    """
    What a small model takes eagerly on a GPU is its launches; recorded, there is one. The GPU is told by its name.
    """
    if any_device.type != "cuda":
        pytest.skip("only on a GPU is it the host that takes the time")
    assert {one.setup.processor for one in found} == {torch.cuda.get_device_name(any_device)}
    eager, captured = (forwards(found, engine)[TARGET].seconds(1, 64) for engine in ENGINES)
    assert captured < eager


@pytest.mark.parametrize("engine", ENGINES)
def test_a_plan_speaks_of_this_device_as_measured(
    specreg: Callable[..., Outcome], found: list[Measurement], any_device: torch.device, engine: str
) -> None:
    """
    All four ways to decode with the family are measured, on the device by its name, in the dtype and by the engine.
    """
    (setup,) = {str(one.setup) for one in found if one.setup.engine == engine}

    told = specreg("plan", TARGET, "--device", str(any_device), "--engine", engine, "--json")

    plan = json.loads(told.out)
    assert plan["device"] == setup
    assert f"({any_device.type}" in setup
    assert len(plan["chains"]) == 4
    for chain in plan["chains"]:
        assert set(chain["basis"]["forwards"].values()) == {"measured"}
        assert chain["predicted_tokens_per_second"] > 0
        assert chain["next"] == []


@pytest.mark.parametrize("length", [2, 3])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_chain_that_drafts_ahead_takes_what_is_foreseen(
    found: list[Measurement], any_device: torch.device, engine: str, length: int
) -> None:
    """
    With drafts of four and of twelve tokens and with stops by the heads, on a GPU, where drafting runs ahead of the
    host: within what `CLOSE` says. What a CPU shared with others takes is not held against anything.
    """
    pipeline = resolve_pipeline(LITTLE, TARGET, length=length)
    cascade = pipeline.load(device=str(any_device), engine=engine)
    estimator = Estimator(
        pipeline.shelf.catalog.models, known_of(pipeline.shelf, setup_of(cascade), found), Law()
    )
    heads, edges = [head.name for head in pipeline.heads], length - 1
    prompt = own_prompts()[0].text

    for most, threshold in ((4, 1.0), (12, 1.0), (8, 0.5)):
        lengths = DraftLengths(
            min_draft=(1,) * edges, max_draft=(most,) * edges, threshold=(threshold,) * edges
        )
        texts = [
            cascade.generate(
                prompt, max_new_tokens=NEW_TOKENS, max_draft=most, threshold=threshold, eos_token_id=[]
            )
            for _ in range(TEXTS + 1)
        ]
        foreseen = estimator.speed(
            pipeline.models, heads, lengths, prompt_tokens=texts[0].prompt_tokens, new_tokens=NEW_TOKENS
        )
        taken = median(NEW_TOKENS / out.seconds for out in texts[1:])  # the first one records
        assert foreseen is not None
        if any_device.type != "cpu":
            assert taken == pytest.approx(foreseen, rel=CLOSE[engine]), (most, threshold)
