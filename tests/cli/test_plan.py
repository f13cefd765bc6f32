"""`specreg plan`, `specreg tune` and `decode --auto` from the outside."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import registry
from heads.bench.prompts import own_prompts
from heads.measuring import effort
from heads.measuring.effort import Effort
from heads.measuring.measure import measure
from registry.cli.plan import Size
from registry.planning.law import Law
from registry.store.remembering import note_measurements
from tests.conftest import Outcome

Run = Callable[..., Outcome]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose store knows the embedded family, measured once."""
    unkept: list[str | None] = []
    home = tmp_path_factory.mktemp("measured")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECREG_HOME", str(home))
        measure(
            registry.resolve_pipeline("pico-little", "pico-target"),
            laws=[Law()],
            prompts=own_prompts()[:2],
            max_new_tokens=24,
            effort=Effort(passes=1, forwards=3, seconds=0.05, runs=1, tokens=16, head=3),
            kept=lambda found: unkept.append(note_measurements(found)),
        )
    assert set(unkept) == {None}
    return home


def test_a_plan_without_measurements_says_what_it_assumes(specreg: Run) -> None:
    """
    Times come from sizes, acceptance from sizes too, and each chain names what would make it surer.
    """
    found = json.loads(specreg("plan", "qwen3-14b", "--json").out)

    assert [chain["models"][-1] for chain in found["chains"]] == ["qwen3-14b"] * 3
    assert ["qwen3-14b"] in [chain["models"] for chain in found["chains"]]
    assert set(found["chains"][0]["basis"]["forwards"].values()) == {"assumed"}
    assert any(step.startswith("specreg measure ") for step in found["chains"][0]["next"])


def test_the_embedded_heads_evaluations_are_used(specreg: Run) -> None:
    """
    Where a head's own evaluation tells acceptance, it is recorded, not assumed.
    """
    found = json.loads(specreg("plan", "pico-target", "--json").out)

    shares = [share for chain in found["chains"] for share in chain["basis"]["acceptance"].values()]
    assert {share["from"] for share in shares} == {"recorded"}


def test_measured_chains_are_told_as_measured(
    specreg: Run, measured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    After `measure`, all four ways to decode with the family are measured, and nothing more is asked for.
    """
    monkeypatch.setenv("SPECREG_HOME", str(measured))

    found = json.loads(specreg("plan", "pico-target", "--json").out)

    assert len(found["chains"]) == 4
    for chain in found["chains"]:
        assert set(chain["basis"]["forwards"].values()) == {"measured"}
        assert chain["next"] == []
    assert {chain["basis"]["lengths"] for chain in found["chains"] if len(chain["models"]) > 1} == {
        "replayed"
    }


def test_what_is_missing_is_measured_first(specreg: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    With --measure a chain that is here is measured under the law that is planned for, before it is planned.
    """
    monkeypatch.setattr(effort, "USUAL", Effort(passes=1, forwards=1, seconds=0.01, runs=1, tokens=8, head=1))
    monkeypatch.setattr("registry.cli.measure.PROMPTS", 1)
    monkeypatch.setattr("registry.cli.measure.NEW_TOKENS", 12)
    chain = ("pico-draft", "pico-target")

    before = json.loads(specreg("plan", *chain, "--json").out)["chains"]
    after = json.loads(specreg("plan", *chain, "--measure", "--json").out)["chains"]

    assert {basis for one in before for basis in one["basis"]["forwards"].values()} == {"assumed"}
    pair = next(one for one in after if one["models"] == list(chain))
    assert set(pair["basis"]["forwards"].values()) == {"measured"}
    assert [share["from"] for share in pair["basis"]["acceptance"].values()] == ["measured"]


def test_auto_decodes_with_the_plans_best(
    specreg: Run, measured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The chain that `plan` puts first decodes, and the line on stderr says which it was.
    """
    monkeypatch.setenv("SPECREG_HOME", str(measured))
    best = json.loads(specreg("plan", "pico-target", "--json").out)["chains"][0]["models"]

    found = specreg("decode", "--auto", "pico-target", "--prompt", "def main():", "--max-new-tokens", "8")

    assert found.code == 0
    assert f"planned: {' -> '.join(best)}" in found.err


def test_auto_needs_one_name_and_no_other_choice(specreg: Run) -> None:
    """
    Without --auto both ends are needed; with it nothing else may choose the chain.
    """
    assert specreg("decode", "pico-target", "--prompt", "x").code == 2
    clash = specreg("decode", "--auto", "pico-target", "--length", "2", "--prompt", "x")
    assert clash.code == 2
    assert "--auto" in clash.err


def test_bench_tells_the_prediction_beside_the_outcome(
    specreg: Run, measured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Of what was measured each mode has its predicted speed in the report; of what is not ours, none.
    """
    monkeypatch.setenv("SPECREG_HOME", str(measured))
    short = ("--category", "python", "--limit", "1", "--repeats", "1", "--max-new-tokens", "16")

    found = specreg(
        "bench", "pico-little", "pico-target", *short, "--modes", "two:heads,assisted", "--json", "-"
    )

    systems = {one["mode"]: one for one in json.loads(found.out)["systems"]}
    for mode in ("plain", "two:heads"):
        ratio = systems[mode]["predicted_tokens_per_second"] / systems[mode]["tokens_per_second"]["median"]
        assert 0.2 < ratio < 5
    assert systems["assisted"]["predicted_tokens_per_second"] is None


def test_tuned_lengths_are_kept_and_used(
    specreg: Run, measured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    `tune` says what it found; `decode` of the same chain then says that it uses it, and not where an option decides.
    """
    monkeypatch.setenv("SPECREG_HOME", str(measured))
    chain = ("pico-draft", "pico-target", "--length", "2")
    short = ("--limit", "1", "--repeats", "1", "--max-new-tokens", "12", "--json")

    found = json.loads(specreg("tune", *chain, *short).out)

    assert found["gain_over_default"] >= 1
    assert found["gain_over_best_fixed"] >= 1
    decode = ("decode", *chain, "--prompt", "def main():", "--max-new-tokens", "8")
    assert "lengths: tuned" in specreg(*decode).err
    assert "lengths: tuned" not in specreg(*decode, "--fixed", "3").err
    assert "lengths: tuned" not in specreg(*decode, "--temperature", "1").err


def test_a_model_alone_cannot_be_tuned(specreg: Run) -> None:
    """
    It drafts nothing.
    """
    found = specreg("tune", "pico-target", "pico-target")

    assert found.code == 2
    assert "drafts nothing" in found.err


@pytest.mark.parametrize(
    ("text", "size"), [("80GB", 80 * 10**9), ("24GiB", 24 * 2**30), ("1000", 1000), ("1.5M", 1_500_000)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    """
    Powers of ten, or of two where the unit says so.
    """
    assert Size().convert(text, None, None) == size


def test_a_size_that_is_none_is_refused(specreg: Run) -> None:
    """
    With what was expected.
    """
    found = specreg("plan", "pico-target", "--memory", "plenty")

    assert found.code == 2
    assert "80GB" in found.err


def test_a_name_that_nobody_knows_is_a_fault(specreg: Run) -> None:
    """
    As everywhere, with the nearest names.
    """
    assert specreg("plan", "pico-targt").code == 1
