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
from registry.planning.assumed import AssumedTimes
from registry.planning.law import Law
from registry.planning.lengths import DraftLengths
from registry.planning.measurement import Measurement
from registry.store.measured import read_measurements
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


def test_what_was_measured_counts_though_it_is_not_kept(
    specreg: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    With a store that cannot be written, which is said before it is measured, the plan goes by what was measured.
    """
    monkeypatch.setattr(effort, "USUAL", Effort(passes=1, forwards=1, seconds=0.01, runs=1, tokens=2, head=1))
    monkeypatch.setattr("registry.cli.measure.PROMPTS", 1)
    monkeypatch.setattr("registry.cli.measure.NEW_TOKENS", 4)
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SPECREG_DATABASE_URL", f"sqlite:///{tmp_path / 'file' / 'store.db'}")

    found = specreg("plan", "pico-little", "--measure", "--json")

    assert found.code == 2
    (alone,) = json.loads(found.out)["chains"]
    assert set(alone["basis"]["forwards"].values()) == {"measured"}
    assert found.err.count("is told, but not kept") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("plan", "pico-little"),
        ("decode", "--auto", "pico-little", "--prompt", "x", "--max-new-tokens", "1", "--device", "cpu"),
    ],
    ids=lambda one: one[0],
)
def test_a_damaged_store_does_not_stop_it(specreg: Run, own_home: Path, arguments: tuple[str, ...]) -> None:
    """
    Without a store everything works: one line tells what is wrong with it, and nothing in it is used.
    """
    (own_home / "specreg").mkdir(parents=True)
    (own_home / "specreg" / "store.db").write_text("garbage\n" * 99)

    found = specreg(*arguments)

    assert found.code == 0
    assert found.out
    assert found.err.count("is corrupted") == found.err.count("is not used") == 1


def test_what_broke_off_before_it_was_timed_is_told(
    specreg: Run, measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    With texts read and nothing timed the plan is for this setup, with a CPU's times, and says so; the command that ends
    it comes next.
    """
    monkeypatch.setenv("SPECREG_HOME", str(measured))
    texts = [one for one in read_measurements() if one.kind == "trace"]
    monkeypatch.setenv("SPECREG_HOME", str(tmp_path / "broken-off"))
    assert note_measurements(texts) is None

    found = specreg("plan", "pico-target")

    assert f"on {texts[0].setup}, not timed ({AssumedTimes.of_device('cpu')})" in found.err
    assert "Next: specreg measure " in found.err


def test_programs_are_told_the_same(specreg: Run, measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    `registry.plan` is the command's plan, and its best choice decodes with its settings as it was measured.
    """
    monkeypatch.setenv("SPECREG_HOME", str(measured))

    found = registry.plan("pico-target", installed=True)

    assert found.to_json() == json.loads(specreg("plan", "pico-target", "--installed", "--json").out)
    choice = found.best
    cascade = choice.pipeline().load(**found.loading)
    out = cascade.generate("def main():", max_new_tokens=8, **choice.settings)
    assert [level.model for level in out.levels] == list(choice.models)


def test_a_target_without_size_or_time_ends_in_a_sentence(specreg: Run, tmp_path: Path) -> None:
    """
    Neither the plan nor what decodes by it has anything to choose from, and both say what would help.
    """
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text("version: 1\nmodels:\n  unsized: {hub: nobody/unsized}\n")
    command = ("unsized", "--catalog", str(catalog))

    for found in (specreg("plan", *command), specreg("decode", "--auto", *command, "--prompt", "x")):
        assert found.code == 2
        assert "specreg measure unsized" in found.err


def test_a_target_of_unknown_size_is_measured_first(
    specreg: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Where its files are here, --measure needs no size to begin with, told by nobody and read from nothing.
    """
    monkeypatch.setattr(effort, "USUAL", Effort(passes=1, forwards=1, seconds=0.01, runs=1, tokens=8, head=1))
    monkeypatch.setattr("registry.planning.plan.sized_models", lambda shelf: shelf.catalog.models)
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text("version: 1\nmodels:\n  pico-little: {package: heads, path: pico/pico-little}\n")

    found = specreg("plan", "pico-little", "--measure", "--catalog", str(catalog), "--json")

    (chain,) = json.loads(found.out)["chains"]
    assert chain["models"] == ["pico-little"]
    assert chain["basis"]["forwards"] == {"pico-little": "measured"}


def test_what_plan_recommends_runs_as_it_is_printed(specreg: Run, tmp_path: Path) -> None:
    """
    With the catalog and the device that the plan was asked with, quoted for a shell.
    """
    catalog = tmp_path / "my own.yaml"
    catalog.write_text("version: 1\n")

    found = specreg("plan", "pico-target", "--catalog", str(catalog), "--device", "cpu")

    next_line = next(line for line in found.err.splitlines() if line.startswith("Next: "))
    assert next_line.removeprefix("Next: ") == (
        f"specreg measure pico-little pico-draft pico-target --device cpu --catalog '{catalog}'"
    )


@pytest.mark.parametrize("command", [("plan",), ("decode", "--prompt", "x", "--auto")], ids=["plan", "auto"])
def test_a_source_that_leads_nowhere_is_refused(specreg: Run, command: tuple[str, ...]) -> None:
    """
    As `chain` refuses it: nobody gets another chain than was asked for.
    """
    found = specreg(*command, "pico-target", "pico-little")

    assert found.code == 1
    assert "only the other way round" in found.err


def test_a_source_whose_files_are_not_here_is_refused(specreg: Run) -> None:
    """
    `decode --auto SOURCE TARGET` does not fall back on the target alone, and says what fetches the rest.
    """
    found = specreg("decode", "--auto", "qwen3-0.6b", "qwen3-14b", "--prompt", "x")

    assert found.code == 2
    assert "specreg download qwen3-0.6b--to--" in found.err


def test_a_target_that_is_not_here_is_only_missed(specreg: Run) -> None:
    """
    That the chain is a guess matters to nobody who cannot run it: one sentence says what fetches it.
    """
    found = specreg("decode", "--auto", "qwen3-14b", "--prompt", "x")

    assert (found.code, found.err.count("\n")) == (2, 1)
    assert "`specreg download qwen3-14b --models`" in found.err


def test_memory_that_holds_not_even_the_target_is_refused(specreg: Run) -> None:
    """
    Nothing is recommended that would not fit, the target alone included.
    """
    found = specreg("plan", "pico-target", "--memory", "1KB")

    assert found.code == 2
    assert "Nothing fits" in found.err
    assert "pico-target" not in found.out


def test_a_run_that_no_chain_has_is_refused(specreg: Run) -> None:
    """
    Whether it is planned or decoded with.
    """
    for command in (("plan",), ("decode", "--prompt", "x", "--auto")):
        found = specreg(*command, "pico-target", "--run", "nobodys")
        assert found.code == 2
        assert "run nobodys" in found.err


def test_auto_says_where_nothing_was_measured(specreg: Run) -> None:
    """
    Its chain is then a guess, by the times of the device that it runs on, and a command would tell.
    """
    auto = ("decode", "--auto", "pico-target", "--prompt", "def main():", "--max-new-tokens", "2")

    found = specreg(*auto, "--device", "cpu")

    assert f"Nothing was measured in this setup ({AssumedTimes.of_device('cpu')})" in found.err
    assert "To measure: `specreg measure pico-little pico-draft pico-target --device cpu`." in found.err


def test_auto_says_what_of_it_was_not_measured(
    specreg: Run, measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Times that were measured are not called assumed: of another way to sample nothing but acceptance is unknown.
    """
    monkeypatch.setenv("SPECREG_HOME", str(measured))
    known = [slowed(one) if one.subject == "pico-target as target" else one for one in read_measurements()]
    monkeypatch.setenv("SPECREG_HOME", str(tmp_path))
    assert note_measurements(known) is None
    auto = ("decode", "--auto", "pico-target", "--prompt", "def main():", "--max-new-tokens", "2")

    told = specreg(*auto, "--temperature", "0.5").err

    assert "Acceptance was not measured for this way to sample (temperature 0.5): " in told
    assert "--temperature 0.5`." in told


def slowed(one: Measurement) -> Measurement:
    """The same model on a machine where it is ten times slower, so that drafting pays for certain."""
    times = [time | {"seconds": 10 * time["seconds"]} for time in one.document["times"]]
    return one.model_copy(update={"document": one.document | {"times": times}})


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


def test_auto_runs_as_it_was_planned(
    specreg: Run, measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Where models were measured with another engine than is usual, that one runs them, unless an option says otherwise;
    nothing is then called a guess.
    """
    monkeypatch.setenv("SPECREG_HOME", str(measured))
    known = read_measurements()
    monkeypatch.setenv("SPECREG_HOME", str(tmp_path / "captured"))
    captured = [
        one.model_copy(update={"setup": one.setup.model_copy(update={"engine": "captured"})}) for one in known
    ]
    assert note_measurements(captured) is None
    auto = ("decode", "--auto", "pico-little", "--prompt", "def main():", "--max-new-tokens", "2")

    planned, eager = (specreg(*auto, *options).err for options in ((), ("--engine", "eager")))

    assert ", captured\n" in planned
    assert "guess" not in planned
    assert ", captured\n" not in eager
    assert "a guess" in eager


def test_auto_says_where_it_runs_otherwise_than_planned(
    specreg: Run, measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    What was measured with another number of threads is the best there is to plan by, and not the same.
    """
    monkeypatch.setenv("SPECREG_HOME", str(measured))
    auto = ("decode", "--auto", "pico-little", "--prompt", "def main():", "--max-new-tokens", "2")
    known = read_measurements()
    assert "Planned by what was measured on" not in specreg(*auto).err
    monkeypatch.setenv("SPECREG_HOME", str(tmp_path / "threads"))
    other = [
        one.model_copy(update={"setup": one.setup.model_copy(update={"threads": one.setup.threads + 1})})
        for one in known
    ]
    assert note_measurements(other) is None

    assert (
        f"Planned by what was measured on {other[0].setup}, and run on {known[0].setup}" in specreg(*auto).err
    )


def test_auto_takes_a_run(specreg: Run, measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Only chains that have it are looked at.
    """
    monkeypatch.setenv("SPECREG_HOME", str(measured))
    auto = ("decode", "--auto", "pico-target", "--prompt", "x", "--max-new-tokens", "2")

    found = specreg(*auto, "--run", "exp-weight6-layer3")

    assert found.code == 0
    assert "planned: " in found.err


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
    `tune` says what it found; `decode` of the same chain then says that it uses it, where no option and no other way to
    draw decides.
    """
    monkeypatch.setenv("SPECREG_HOME", str(measured))
    chain = ("pico-draft", "pico-target", "--length", "2")
    short = ("--limit", "1", "--repeats", "1", "--max-new-tokens", "12", "--json")

    found = json.loads(specreg("tune", *chain, *short).out)

    assert found["kept"]
    assert found["gain_over_default"] >= 1
    assert found["gain_over_best_fixed"] >= 1
    lengths = DraftLengths.model_validate_json(json.dumps(found["lengths"]))
    decode = ("decode", *chain, "--prompt", "def main():", "--max-new-tokens", "8")
    assert f"lengths: {lengths} (tuned)" in specreg(*decode).err
    assert "(option)" in specreg(*decode, "--fixed", "3").err
    assert "(default)" in specreg(*decode, "--temperature", "1").err
    line = next(
        line for line in specreg("plan", "pico-target").out.splitlines() if line.startswith("pico-draft ->")
    )
    assert f"{lengths} (tuned" in line.split("\t")[3]


def test_a_measured_chain_is_drafted_for_as_planned(
    specreg: Run, measured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    `decode` takes the lengths that `plan` shows for a chain; of what was not measured, those of any machine.
    """
    monkeypatch.setenv("SPECREG_HOME", str(measured))
    pair = ("pico-little", "pico-target")
    shown = json.loads(specreg("plan", *pair, "--json").out)["chains"]
    (planned,) = (one["settings"] for one in shown if one["models"] == list(pair))
    decode = ("--prompt", "def main():", "--max-new-tokens", "4", "--json")

    drafting = json.loads(specreg("decode", *pair, "--length", "2", *decode).out)["drafting"]
    other = json.loads(specreg("decode", "pico-little", "pico-draft", *decode).out)["drafting"]

    assert drafting["from"] == "planned"
    assert {name: [edge[name] for edge in drafting["edges"]] for name in ("min_draft", "max_draft")} == {
        name: planned[name] for name in ("min_draft", "max_draft")
    }
    assert other["from"] == "default"


def test_what_was_tuned_and_not_kept_is_a_fault(
    specreg: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    It is printed all the same, and the exit code tells that `decode` will not know of it.
    """
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SPECREG_DATABASE_URL", f"sqlite:///{tmp_path / 'file' / 'store.db'}")
    shortest = ("--length", "2", "--limit", "1", "--repeats", "1", "--max-new-tokens", "1", "--json")

    found = specreg("tune", "pico-draft", "pico-target", *shortest)

    assert found.code == 2
    assert not json.loads(found.out)["kept"]


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
