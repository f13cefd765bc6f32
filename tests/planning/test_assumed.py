"""What is taken for granted where nothing was measured, and that it says whose it is."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from registry.planning.assumed import A_CPU as CPU
from registry.planning.assumed import AN_H100 as GPU
from registry.planning.assumed import AssumedTimes, assumed_acceptance
from registry.planning.fingerprint import fingerprint
from registry.planning.known import known_here
from registry.planning.law import Law
from registry.planning.measured import Measured
from registry.planning.measurement import Measurement
from registry.planning.plan import plan
from registry.planning.planned import Plan
from registry.planning.setup import DEVICE_TYPES, Setup
from registry.planning.timing import ForwardTime, ForwardTimes
from registry.shelf import Shelf
from tests.planning.measurements import HERE, edged, fingerprinted, stored, timed
from tests.planning.test_plan import SIZES, planned, shelf_of

CARD = HERE.model_copy(update={"device": "cuda", "processor": "a card", "dtype": "bfloat16"})


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    """Three sizes, and every head between neighbours."""
    return shelf_of(dict(SIZES), [("small", "middle"), ("middle", "large")])


def planned_on(
    shelf: Shelf, setup: Setup | None, known: Sequence[Measurement], device: str | None = None
) -> Plan:
    """A greedy plan for one setup."""
    return plan(shelf, "large", measured=Measured(setup, known, fingerprinted, device=device), law=Law())


def alone(found: Plan) -> float:
    """Seconds a token of the target alone."""
    return next(one.estimate.seconds_per_token for one in found.chains if len(one.models) == 1)


def traces_alone(setup: Setup) -> list[Measurement]:
    """What a measuring run leaves that breaks off before anything is timed."""
    both = [
        *edged("small", "middle", 0.8, text_of="large", setup=setup),
        *edged("middle", "large", 0.9, setup=setup),
    ]
    return [one for one in both if one.kind == "trace"]


def test_a_cpu_without_times_is_no_gpu(shelf: Shelf) -> None:
    """
    Where only texts were read, a CPU's forwards are those assumed of a CPU, by the bytes of its dtype, and it is said.
    """
    found = planned_on(shelf, HERE, traces_alone(HERE))

    assert alone(found) == pytest.approx(CPU.seconds(4 * SIZES["large"]))
    assert found.device == f"{HERE}, not timed ({CPU})"
    assert {one.estimate.replayed for one in found.chains if one.estimate.heads} == {True}
    assert not any(one.estimate.measured for one in found.chains)


def test_a_gpu_without_times_has_an_h100s(shelf: Shelf) -> None:
    """
    The same of a card: named, since it may be another.
    """
    found = planned_on(shelf, CARD, traces_alone(CARD))

    assert alone(found) == pytest.approx(GPU.seconds(2 * SIZES["large"]))
    assert found.device == f"{CARD}, not timed ({GPU})"


def test_a_device_that_nobody_assumed_is_told_as_another(shelf: Shelf) -> None:
    """
    An H100's times stand in for those of any GPU that is none of CUDA's, and the plan says for which.
    """
    found = plan(shelf, "large", measured=known_here(shelf, [], device="mps:0"), law=Law())

    assert alone(found) == pytest.approx(GPU.seconds(2 * SIZES["large"]))
    assert (
        found.device == "a setup that was not measured (times of one H100 in place of mps assumed, 3.0 TB/s)"
    )


def test_devices_are_those_of_torch() -> None:
    """
    A plan, which does without torch, takes the names that torch takes.
    """
    with pytest.raises(RuntimeError, match="Expected one of") as caught:
        torch.device("none")

    told = str(caught.value).partition("one of ")[2].partition(" device type")[0]
    assert sorted(DEVICE_TYPES.split("|")) == sorted(told.split(", "))


@pytest.mark.parametrize(("asked", "times", "item"), [("cpu", CPU, 4), ("cuda:1", GPU, 2), (None, GPU, 2)])
def test_the_device_asked_for_decides_where_nothing_was_measured(
    shelf: Shelf, asked: str | None, times: AssumedTimes, item: int
) -> None:
    """
    Without a measurement the plan is for the device named, in the dtype that is usual there, else for one that is said.
    """
    measured = known_here(shelf, [], device=asked)

    found = plan(shelf, "large", measured=measured, law=Law())

    assert alone(found) == pytest.approx(times.seconds(item * SIZES["large"]))
    assert found.device == f"a setup that was not measured ({times})"


def test_times_without_sizes_do_not_lend_a_gpus(shelf: Shelf) -> None:
    """
    A model that was timed and has no size tells nothing of others: theirs stay a CPU's, beside its own.
    """
    sizes: dict[str, int | None] = {**SIZES, "large": None}
    shelf = shelf_of(sizes, [("small", "middle"), ("middle", "large")])
    known = [*timed("large", 5.0), *traces_alone(HERE)]

    found = planned_on(shelf, HERE, known)

    assert found.device == f"{HERE}, not all models timed ({CPU})"
    assert found.assumed == CPU


def test_a_setup_without_times_has_those_of_the_likest(shelf: Shelf) -> None:
    """
    Where this machine's CPU was timed by another engine, that says more of it than any other machine: whether something
    was read in this setup, or nothing.
    """
    captured = HERE.model_copy(update={"engine": "captured"})
    half = HERE.model_copy(update={"dtype": "bfloat16"})
    marked = fingerprint(shelf, ["large"])
    timed_here = timed("large", 3.2, setup=HERE, fingerprint=marked)
    others = [
        *timed("large", 1.0, setup=CARD, fingerprint=marked),
        *timed("large", 9.0, setup=half, fingerprint=marked),
    ]
    for known in ([*others, *timed_here], [*others, *timed_here, *traces_alone(captured)]):
        measured = known_here(shelf, known, device="cpu", engine="captured", dtype="float32")

        found = plan(shelf, "large", measured=measured, law=Law())

        assert alone(found) == pytest.approx(3.2)
        assert f"times of {HERE} assumed" in found.device


def test_a_machine_that_was_only_measured_on_its_cpu_is_no_gpu(shelf: Shelf) -> None:
    """
    Asked for an engine that was never measured, without a device, the plan is for the one device that is known.
    """
    measured = known_here(shelf, traces_alone(HERE), engine="captured")

    assert measured.setup is None
    assert plan(shelf, "large", measured=measured, law=Law()).assumed == CPU


def test_times_of_its_own_are_not_told_as_a_strangers(shelf: Shelf) -> None:
    """
    Once one model is timed the others follow it, and the setup's name stands alone.
    """
    found = planned_on(shelf, HERE, [*timed("large", 0.01), *traces_alone(HERE)])

    assert found.assumed.fitted
    assert found.device == str(HERE)


def test_longer_queries_cost_a_cpu_more(shelf: Shelf) -> None:
    """
    Where nothing was timed a CPU is not foreseen to verify a long draft for nothing; a GPU nearly is.
    """
    lengths = {
        setup.device: {
            one.models: one.estimate.lengths.max_draft
            for one in planned_on(shelf, setup, traces_alone(setup)).chains
        }["middle", "large"][0]
        for setup in (HERE, CARD)
    }

    assert lengths["cpu"] < lengths["cuda"]


def test_longer_queries_cost_others_what_they_cost_the_measured() -> None:
    """
    Where a measured model takes four times as long for sixteen tokens as for one, so do those that were not measured.
    """
    times = tuple(
        ForwardTime(query=query, cached=cached, seconds=seconds)
        for query, seconds in ((1, 0.01), (16, 0.04))
        for cached in (0, 64)
    )
    steep = ForwardTimes(model="small", times=times, outside={"greedy": 0.0, "sampled": 0.0})
    shelf = shelf_of({"small": SIZES["small"], "large": SIZES["large"]}, [("small", "large")])

    found = planned(shelf, "large", [stored("forwards", "small", steep)]).assumed

    assert found.seconds(4 * SIZES["large"], 16) == pytest.approx(4 * found.seconds(4 * SIZES["large"]))


def test_rounds_that_were_not_measured_are_told(shelf: Shelf) -> None:
    """
    Forwards and texts without what rounds take besides: assumed, so that the plan asks for more.
    """
    known = [*timed("middle", 0.001), *timed("large", 0.01), *traces_alone(HERE)]
    pair = ("middle", "large")

    found = {one.models: one for one in planned(shelf, "large", known).chains}

    assert set(found[pair].estimate.rounds.values()) == {"assumed"}
    assert found[pair].next[-1] == "specreg measure middle large"
    assert found["large",].estimate.measured


def test_assumed_times_lie_on_the_line_of_what_was_measured() -> None:
    """
    Two measured models fix the launch and the rate by which a third is told.
    """
    line = AssumedTimes.from_measured([(1000, 0.003), (3000, 0.005)])

    assert line.seconds(2000) == pytest.approx(0.004)
    assert AssumedTimes.from_measured([(1000, 0.002)]).seconds(2000) == pytest.approx(0.004)


def test_the_further_apart_the_less_is_kept() -> None:
    """
    Assumed acceptance falls with the ratio of sizes, and stays a probability.
    """
    shares = [assumed_acceptance(10**9, 10**9 * ratio) for ratio in (1, 2, 8, 64, 10**9)]

    assert shares == sorted(shares, reverse=True)
    assert all(0 < share < 1 for share in shares)
