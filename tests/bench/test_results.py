"""What the page of measurements shows stands in the files beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[2]
RESULTS: Final = ROOT / "heads" / "results"
CHAINS: Final = {"two": "draft -> target", "direct": "little -> target", "three": "little -> draft -> target"}
SCHEDULES: Final = {
    "heads": "heads",
    "tuned": "best threshold",
    "confidence": "best confidence",
    "fixed": "best fixed",
    "heuristic": "heuristic",
}
LAWS: Final = {"greedy": "greedy", "sampled": "temperature 1"}
ALONE: Final = {
    "plain": "plain, eager",
    "plain:captured": "plain, captured",
    "plain:fused": "plain, fused",
    "generate": "transformers' own `generate`",
    "assisted": "assisted generation",
}

Figure = Callable[[dict[str, Any] | None], str]


def read(name: str) -> Any:
    """A file of results."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def systems(name: str) -> dict[str, dict[str, Any]]:
    """Mode -> what was measured of it."""
    return {one["mode"]: one for one in read(name)["systems"]}


def times(places: int) -> Figure:
    """How many times as fast as plain eager decoding; nothing where that was not measured."""
    return lambda system: "" if system is None else f"{system['speedup_over_plain']:.{places}f}"


def speed(system: dict[str, Any] | None) -> str:
    """Tokens per second; nothing where that was not measured."""
    return "" if system is None else f"{system['tokens_per_second']['median']:.0f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown, its first column without a title."""
    lines = [f"| | {' | '.join(head)} |", "|" + "---|" * (len(head) + 1)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |".replace("  ", " ") for row in rows)])


def by_law(files: dict[str, str], modes: Iterable[str], figure: Figure) -> str:
    """A row for each file, by its title, and a column for each mode."""
    modes = list(modes)
    found = {title: systems(name) for title, name in files.items()}
    return table(
        [titled(mode) for mode in modes],
        [[title, *(figure(measured.get(mode)) for mode in modes)] for title, measured in found.items()],
    )


def titled(mode: str) -> str:
    """What a column is called."""
    chain, _, schedule = mode.partition(":")
    return ALONE[mode] if mode in ALONE else f"{CHAINS[chain]}, {SCHEDULES[schedule]}"


def by_chain(name: str, chains: Iterable[str], schedules: Iterable[str]) -> str:
    """A row for each chain, and a column for each way to draft."""
    found, schedules = systems(name), list(schedules)
    return table(
        [SCHEDULES[schedule] for schedule in schedules],
        [[CHAINS[chain], *(times(2)(found[f"{chain}:{one}"]) for one in schedules)] for chain in chains],
    )


def milliseconds(name: str, model: str, engine: str) -> dict[str, float]:
    """Tokens -> time of a forward."""
    measured: dict[str, float] = read(name)["models"][model]["engines"][engine]["forward_ms"]
    return measured


def to(measured: dict[str, float]) -> str:
    """From one token to the slowest number of them."""
    least, most = (f"{end(measured.values()):.1f}" for end in (min, max))
    return least if least == most else f"{least} to {most}"


def verifying() -> str:
    """Forwards of several tokens on a CPU."""
    queries = ["1", "2", "4", "6", "8"]
    return "\n".join(
        [
            f"| tokens | {' | '.join(queries)} |",
            "|" + "---|" * 6,
            *(
                f"| {engine} | "
                + " | ".join(
                    f"{milliseconds('cpu-qwen3-0.6b', 'qwen3-0.6b', engine)[count]:.0f}" for count in queries
                )
                + " |"
                for engine in ("eager", "captured")
            ),
        ]
    )


def foreseen() -> str:
    """Tokens per second, and the prediction's distance."""
    modes = ["plain:captured", *(f"{chain}:heads" for chain in CHAINS)]

    def beside(system: dict[str, Any] | None) -> str:
        assert system is not None
        off = system["predicted_tokens_per_second"] / system["tokens_per_second"]["median"] - 1
        return f"{speed(system)} ({off:+.0%})"

    files = {title: f"cpu-pico-foreseen-{law}" for law, title in LAWS.items()}
    return by_law(files, modes, beside).replace(", heads", "")


def beside_the_peer() -> str:
    """Two cascades of three, as they come and at their best."""
    modes = {
        "three:heads": "specreg",
        "duodecoding": "DuoDecoding",
        "three:tuned": "specreg, best of a sweep",
        "duodecoding:tuned": "DuoDecoding, best of a sweep",
    }
    found = {title: systems(f"cpu-pico-duodecoding-{law}") for law, title in LAWS.items()}
    rows = [[title, *(times(2)(measured[mode]) for mode in modes)] for title, measured in found.items()]
    return table(list(modes.values()), rows)


def forwards_on_a_gpu() -> str:
    """Forwards of Qwen3's shapes over their floor."""
    captured, fused, larger = (f"h100-qwen3-{name}" for name in ("14b-captured", "14b-fused", "32b-captured"))
    rows = []
    for model in ("qwen3-0.6b", "qwen3-1.7b", "qwen3-14b"):
        floor = read(captured)["models"][model]["floor_ms"]
        eager = milliseconds(captured, model, "eager")["1"]
        over = read(fused)["models"][model]["floor_ms"]
        times_floor = max(milliseconds(fused, model, "fused").values()) / over
        rows.append(
            [
                model,
                f"{floor:.1f}" if floor > 5 else f"{floor:.2f}",
                f"{eager:.1f}",
                to(milliseconds(captured, model, "captured")),
                to(milliseconds(fused, model, "fused")),
                f"{times_floor:.1f} times",
            ]
        )
    measured = read(larger)["models"]["qwen3-32b"]
    rows.append(
        [
            "qwen3-32b",
            f"{measured['floor_ms']:.1f}",
            "",
            to(measured["engines"]["captured"]["forward_ms"]),
            "",
            "",
        ]
    )
    head = ["floor", "eager, 1 token", "captured, 1 to 16", "fused, 1 to 16", "fused, over its run's floor"]
    return table(head, rows)


def synthetic() -> str:
    """Chains of Qwen3's shapes."""
    rows = []
    for models in (["14b"], ["0.6b", "14b"], ["1.7b", "14b"], ["0.6b", "1.7b", "14b"]):
        found = [
            next(
                chain["tokens_per_second"]
                for chain in read(f"h100-qwen3-14b-{engine}")["chains"]
                if [name.removeprefix("qwen3-") for name in chain["models"]] == models
                and chain["synthetic_acceptance"] == (0.8 if models[1:] else 0)
                and set(chain["max_draft"]) <= {4, 0}
            )
            for engine in ("captured", "fused")
        ]
        rows.append([" -> ".join(models) if models[1:] else "14b alone", *(f"{one:.0f}" for one in found)])
    return table(["captured", "fused"], rows)


def drafted(*chains: str, alone: Iterable[str]) -> list[str]:
    """Modes: those without a draft, and heads beside the best fixed length."""
    return [*alone, *(f"{chain}:{schedule}" for chain in chains for schedule in ("heads", "fixed"))]


def laws(name: str) -> dict[str, str]:
    """A file for each way to draw."""
    return {title: f"{name}-{law}" for law, title in LAWS.items()}


ON_A_GPU: Final = drafted(*CHAINS, alone=["plain", "assisted", "plain:fused"])
CAPTURED: Final = drafted(*CHAINS, alone=["plain:captured", "assisted"])
TABLES: Final[dict[str, Callable[[], str]]] = {
    "cpu-alone": lambda: by_law(laws("cpu-pico"), ["plain:captured", "generate", "assisted"], times(2)),
    "cpu-greedy": lambda: by_chain("cpu-pico-greedy", CHAINS, SCHEDULES),
    "cpu-sampled": lambda: by_chain("cpu-pico-sampled", CHAINS, SCHEDULES),
    "cpu-twelve": lambda: by_chain("cpu-pico-twelve-sampled", CHAINS, ["heads", "confidence", "fixed"]),
    "cpu-qwen": verifying,
    "foreseen": foreseen,
    "duo": beside_the_peer,
    "limits": forwards_on_a_gpu,
    "synthetic": synthetic,
    "nano": lambda: by_law(laws("h100-nano"), ON_A_GPU, speed),
    "h100-pico": lambda: by_law(
        {
            "bfloat16, greedy": "h100-pico-bfloat16-greedy",
            "bfloat16, temperature 1": "h100-pico-bfloat16-sampled",
            "float32, greedy": "h100-pico-float32-greedy",
        },
        ON_A_GPU,
        speed,
    ),
    "h200": lambda: by_law(
        {
            f"{family}, {dtype}, {title}": f"h200-{name}-{law}"
            for family, dtype, name in (
                ("trained there", "bfloat16", "nano"),
                ("embedded", "float32", "pico-float32"),
                ("embedded", "bfloat16", "pico-bfloat16"),
            )
            for law, title in LAWS.items()
        },
        CAPTURED,
        times(1),
    ),
}


SUMMARY: Final = {
    "cpu": lambda: by_law(
        laws("cpu-pico"),
        ["plain:captured", "assisted", "direct:heads", "direct:fixed", "three:heads"],
        times(2),
    ),
    "nano": lambda: by_law(laws("h100-nano"), ON_A_GPU[:-1], speed),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_of_its_files(name: str) -> None:
    """
    Every figure of a table is that of the file it names.
    """
    page = (RESULTS / "README.md").read_text()

    assert TABLES[name]() in page


@pytest.mark.parametrize("name", SUMMARY)
def test_the_summary_is_of_the_same_files(name: str) -> None:
    """
    The README's own tables of speeds are those of the files, too.
    """
    assert SUMMARY[name]() in (ROOT / "README.md").read_text()


def test_every_file_is_told_of() -> None:
    """
    No file of results lies there that the page does not name.
    """
    page = (RESULTS / "README.md").read_text()
    named = {
        file.name for pattern in _named(page) for file in RESULTS.glob(pattern) if file.suffix == ".json"
    }

    assert named == {file.name for file in RESULTS.glob("*.json")}


def _named(page: str) -> list[str]:
    """Names of files, or patterns of them."""
    return [word for word in page.split("`")[1::2] if word.endswith(".json") and word[:1].isalpha()]
