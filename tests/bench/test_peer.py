"""A published program beside ours, tried on a small one with the same doors and the same demands."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import registry
from heads import Cascade
from heads.bench import measuring, peer, sweep
from heads.bench.prompts import BenchPrompt
from heads.bench.systems import Sampling
from heads.bench.tridecoding import DEFAULTS, CalledModel, PeerSystem, Program
from registry.errors import UsageError
from tests.heads.models import chain, tiny

PROMPT = [3, 1, 4, 1, 5]
LENGTH = 6
# Made by hand after what the published one demands: it refuses a head on a CPU, times itself by CUDA's events, keeps
# no more of a cache than the length it names, is abstract, and goes past the length that it was asked for.
PROGRAM = """
from abc import ABC, abstractmethod
import torch

class Adapter:
    threshold = None
    @property
    def device(self):
        return torch.device("cpu")

class Baselines(ABC):
    def __init__(self, args):
        torch.manual_seed(args.seed)
        self.args = args

    @abstractmethod
    def load_data(self): ...

    def load_acc_head(self):
        self.loaded = (self.args.small_draft_acc_head_path, self.args.draft_target_acc_head_path)
        self.small_draft_adapter, self.draft_target_adapter = Adapter(), Adapter()

    def adaptive_tridecoding(self, prefix, transfer_top_k):
        if self.small_draft_adapter.device == torch.device("cpu"):
            raise AssertionError("heads belong on a GPU")
        began, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        began.record(stream=torch.cuda.current_stream())
        told = dict.fromkeys(
            ["little_generated_tokens", "little_accepted_tokens", "draft_generated_tokens", "draft_accepted_tokens"], 0
        )
        self.little_model(prefix).hidden_states[-1], self.draft_model(prefix).hidden_states[-1]
        x, cache = prefix, None
        while x.shape[1] < prefix.shape[1] + self.args.max_tokens:
            fed = x if cache is None else x[:, cache.get_seq_length():]
            found = self.target_model(fed, past_key_values=cache)
            cache = found.past_key_values
            next_ = found.logits[:, -1:].argmax(-1)
            guess = (next_ + 1) % self.vocab_size
            self.target_model(torch.cat((next_, guess), dim=1), past_key_values=cache)
            cache.crop(x.shape[1])
            x = torch.cat((x, next_), dim=1)
        ended.record(stream=torch.cuda.current_stream())
        torch.cuda.synchronize()
        told["computation_time"] = began.elapsed_time(ended)
        return torch.cat((x, x[:, :1]), dim=1), told
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """A folder with that program in it, and nothing of it imported before or after."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "baselines.py").write_text(PROGRAM)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "src"]:
        del sys.modules[name]


@pytest.fixture
def cascade() -> Cascade:
    """Three tiny models."""
    return Cascade(chain(count=3), None, names=["little", "draft", "target"])


def system(checkout: Path, cascade: Cascade) -> PeerSystem:
    heads = [checkout / "lower", checkout / "upper"]
    return PeerSystem(
        mode="peer", cascade=cascade, settings=DEFAULTS, program=Program(checkout, cascade, heads)
    )


def test_it_decodes_with_our_models_and_is_counted(checkout: Path, cascade: Cascade) -> None:
    """
    Its text has the length asked for, and is the target's own; forwards are counted where they happen.
    """
    run = system(checkout, cascade).run(PROMPT, Sampling(max_new_tokens=LENGTH), seed=0)

    plain = cascade.part([2]).generate(PROMPT, max_new_tokens=LENGTH, eos_token_id=[])
    assert run.token_ids == plain.token_ids
    assert [level.forwards for level in run.levels] == [1, 1, 2 * LENGTH]
    assert [level.proposed for level in run.levels] == [0, 0, None]


def test_what_stands_in_for_a_gpu_is_taken_back(checkout: Path, cascade: Cascade) -> None:
    """
    After a run torch has its own events and streams again, its generator is where it was, and so is the search path.
    """
    before = (torch.cuda.Event, torch.cuda.current_stream, torch.cuda.synchronize, list(sys.path))
    state = torch.random.get_rng_state()

    system(checkout, cascade).run(PROMPT, Sampling(max_new_tokens=LENGTH), seed=7)

    assert (torch.cuda.Event, torch.cuda.current_stream, torch.cuda.synchronize, sys.path) == before
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(("asked", "kept"), [(3, 3), (9, 5)], ids=["shorter", "longer than it is"])
def test_a_cache_is_cropped_to_a_length(asked: int, kept: int) -> None:
    """
    As the program means it, and never below what stays valid: the rows after it are those of a fresh text.
    """
    model = CalledModel(tiny(), drafts=True)
    with torch.inference_mode():
        cache: Any = model(torch.tensor([PROMPT])).past_key_values
        cache.crop(asked)
        assert cache.get_seq_length() == kept

        rows = model(torch.tensor([[2, 7]]), past_key_values=cache).logits
        fresh = model(torch.tensor([[*PROMPT[:kept], 2, 7]])).logits[:, -2:]

    torch.testing.assert_close(rows, fresh, rtol=1e-4, atol=1e-4)
    assert model.calls == 3


def test_a_folder_without_it_is_refused(tmp_path: Path, cascade: Cascade) -> None:
    """
    The sentence names what is missing and how to clone it.
    """
    with pytest.raises(UsageError, match=r"cannot be run: No module named 'src'.*--recurse-submodules"):
        system(tmp_path, cascade)


def test_a_part_of_it_is_refused(checkout: Path, cascade: Cascade) -> None:
    """
    One of its files that another reads by its path is missing: the sentence says which.
    """
    (checkout / "src" / "baselines.py").write_text("open(__file__ + '.utils')\n")

    with pytest.raises(UsageError, match=r"cannot be run: .*baselines\.py\.utils.*--recurse-submodules"):
        system(checkout, cascade)


def test_two_models_are_refused(checkout: Path, cascade: Cascade) -> None:
    """
    It runs three models and no other number.
    """
    with pytest.raises(UsageError, match="three models, got 2"):
        system(checkout, cascade.part([0, 2]))


@pytest.mark.parametrize("cut", [{"top_k": 5}, {"top_p": 0.9}, {"min_p": 0.1}], ids=str)
def test_a_cut_distribution_is_refused(checkout: Path, cascade: Cascade, cut: dict[str, Any]) -> None:
    """
    It never cuts the target's distribution, so it cannot be held against a run that does.
    """
    with pytest.raises(UsageError, match="Leave out top_k, top_p and min_p"):
        system(checkout, cascade).run(PROMPT, Sampling(max_new_tokens=2, temperature=1.0, **cut), seed=0)


def test_all_are_measured_in_one_run(checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """
    Plain decoding, ours and the program, as they come and tuned, each with the same text; the program has our heads.
    """
    monkeypatch.setattr(measuring, "WARM_UP_TOKENS", 1)
    monkeypatch.setattr(sweep, "FINALS", 1)
    monkeypatch.setattr(peer, "advised_candidates", lambda _: [{"max_draft": [2, 3]}])
    monkeypatch.setattr(peer, "peer_candidates", lambda: [DEFAULTS | {"gamma1": 3}])
    pipeline = registry.resolve_pipeline("pico-little", "pico-target", length=3)

    document = peer.compared(
        checkout,
        pipeline,
        [BenchPrompt(name="one", category="python", text="def add(a, b):\n")],
        Sampling(max_new_tokens=2),
        repeats=1,
        device="cpu",
        journal=tmp_path / "out.journal",
    )

    found = {one["mode"]: one for one in json.loads(json.dumps(document))["systems"]}
    assert sorted(found) == ["duodecoding", "duodecoding:tuned", "plain", "three:heads", "three:tuned"]
    assert {one["mismatched_tokens"] for one in found.values()} == {0}
    assert found["duodecoding:tuned"]["settings"]["gamma1"] == 3
    assert document["peer"]["commit"] is None


class PowerCutError(Exception):
    """The machine went down."""


def test_a_run_of_other_texts_is_not_gone_on_with(checkout: Path, tmp_path: Path) -> None:
    """
    What was broken off goes on with the same texts alone, whatever prompts are called.
    """
    pipeline = registry.resolve_pipeline("pico-little", "pico-target", length=3)

    def stop(_: str) -> None:
        raise PowerCutError

    def run(text: str) -> None:
        peer.compared(
            checkout,
            pipeline,
            [BenchPrompt(name="1", category="all", text=text)],
            Sampling(max_new_tokens=2),
            device="cpu",
            journal=tmp_path / "out.journal",
            told=stop,
        )

    with pytest.raises(PowerCutError):
        run("def add(a, b):\n")
    with pytest.raises(UsageError, match="begun with other prompts"):
        run("def add(a, c):\n")
