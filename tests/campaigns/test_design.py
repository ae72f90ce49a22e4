"""Designs: which trials, in which order, and what is left out."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import ClassVar

import pytest

from joulery.campaigns.design import Plan, plan_trials
from joulery.campaigns.network.presets import preset
from joulery.campaigns.scenarios import scenario
from joulery.campaigns.scenarios.base import ModelFamily
from joulery.campaigns.spec import CampaignSpec, Subset
from joulery.errors import SpecError
from joulery.tests.campaigns.tiny import TinyScenario


def _spec(**changes: object) -> CampaignSpec:
    base = {
        "name": "x",
        "scenarios": (
            {
                "scenario": "traffic_prediction",
                "factors": {
                    "model": ("ridge", "mlp"),
                    "precision": ("fp32", "int8"),
                    "batch": (1, 8),
                },
            },
        ),
        "loads": ({"rate_hz": 10.0}, {"rate_hz": 20.0}),
        "trial": {"window_s": 20.0},
        "repeats": 3,
    }
    return CampaignSpec.model_validate(base | changes)


def _plan(spec: CampaignSpec) -> Plan:
    return plan_trials(
        spec, {"traffic_prediction": scenario("traffic_prediction")}, "x.yaml", cpus=2
    )


def test_each_block_holds_every_cell_once_in_its_own_order() -> None:
    """A randomised complete block has each configuration under each load exactly once."""
    plan = _plan(_spec())
    blocks = [
        [(str(trial.configuration), trial.load_index) for trial in group]
        for _, group in itertools.groupby(plan.trials, key=lambda trial: trial.block)
    ]
    assert len(blocks) == 3
    assert len(blocks[0]) == 3 * 2 * 2
    assert all(set(Counter(block).values()) == {1} for block in blocks)
    assert set(blocks[0]) == set(blocks[1]) == set(blocks[2])
    assert blocks[0] != blocks[1]
    assert [trial.number for trial in plan.trials] == list(range(1, 37))


def test_the_seed_alone_decides_the_order() -> None:
    """One seed gives one order, another seed another."""
    assert _plan(_spec(seed=5)) == _plan(_spec(seed=5))
    assert _plan(_spec(seed=5)).trials != _plan(_spec(seed=6)).trials


def test_a_model_without_a_precision_is_left_out_with_its_reason() -> None:
    """Combinations that cannot exist are listed, not silently dropped."""
    (left_out,) = _plan(_spec()).excluded
    assert left_out.levels == "model=ridge precision=int8"
    assert "fp32 only" in left_out.reason


class _Dynamic(TinyScenario):
    """A plain model, one with exits, and a detector."""

    models: ClassVar[tuple[ModelFamily, ...]] = (
        ModelFamily(name="plain", title="Plain", precisions=("fp32",)),
        ModelFamily(name="exits", title="Exits", precisions=("fp32",), exits=3),
        ModelFamily(name="eye", title="Eye", precisions=("fp32",), exits=2, is_detector=True),
    )


def _dynamic(**factors: object) -> Plan:
    spec = _spec(scenarios=({"scenario": "tiny", "factors": factors},), repeats=1)
    return plan_trials(spec, {"tiny": _Dynamic()}, "x.yaml", cpus=2)


def test_a_factor_is_crossed_with_the_models_that_have_it() -> None:
    """Others are measured once, and a level beyond a model's own is left out with its reason."""
    plan = _dynamic(model=("plain", "exits", "eye"), max_exit=(1, 3), resolution=(0.5, 1.0))
    found = sorted({str(trial.configuration) for trial in plan.trials})
    rest = "precision=fp32 batch=1 threads=1"
    assert found == [
        f"model=exits {rest} max_exit=1",
        f"model=exits {rest} max_exit=3",
        f"model=eye {rest} max_exit=1 resolution=0.5",
        f"model=eye {rest} max_exit=1 resolution=1",
        f"model=plain {rest}",
    ]
    (left_out,) = plan.excluded
    assert (left_out.levels, left_out.reason) == ("model=eye max_exit=3", "eye has 2 exits")


@pytest.mark.parametrize("name", ["max_exit", "stride"])
def test_a_factor_that_no_model_has_is_refused(name: str) -> None:
    """Its levels would be measured nowhere."""
    with pytest.raises(SpecError, match="no model that has it") as caught:
        _dynamic(model=("plain",), **{name: (1, 2)})
    assert caught.value.place == f"scenarios[0].factors.{name}"


def test_a_provider_has_the_names_that_there_are() -> None:
    """An unknown one is refused with the nearest."""
    with pytest.raises(SpecError, match="did you mean 'openvino-cpu'"):
        _dynamic(model=("plain",), provider=("openvino_cpu",))


def test_threads_that_the_machine_does_not_have_are_left_out() -> None:
    """A level that would silently get fewer CPUs is not measured, and the reason is kept."""
    factors = {"model": ("ridge",), "threads": (1, 2)}
    plan = _plan(_spec(scenarios=({"scenario": "traffic_prediction", "factors": factors},)))
    assert {trial.configuration.threads for trial in plan.trials} == {1}
    (left_out,) = plan.excluded
    assert left_out.levels == "threads=2"
    assert "need 3 CPUs of 2" in left_out.reason


@pytest.mark.parametrize(
    ("loads", "words"),
    [
        (({"rate_hz": 10.0}, {"rate_hz": 10.0}), "twice"),
        (({"rate_hz": 1e6},), "at most 5,000,000"),
        (({"rate_hz": 3.0},), "at least 72"),
    ],
)
def test_loads_that_cannot_be_measured_are_refused(loads: tuple[object, ...], words: str) -> None:
    """Two equal loads would pass for repeats, and a huge one would not fit into memory."""
    with pytest.raises(SpecError, match=words) as caught:
        _plan(_spec(loads=loads))
    assert "loads" in (caught.value.place or "")


@pytest.mark.parametrize(
    ("factors", "place", "words"),
    [
        ({"model": ("rigde",)}, "factors.model", "did you mean 'ridge'?"),
        ({"model": ("ridge",), "precision": ("int4",)}, "factors.precision", "'int4'"),
        ({"model": ("ridge", "ridge")}, "factors.model", "twice"),
        ({"model": ("ridge",), "batch": (1, 1)}, "factors.batch", "twice"),
        ({"model": ("ridge",), "precision": ("int8",)}, "factors", "at least one"),
    ],
)
def test_levels_that_do_not_exist_are_refused(
    factors: dict[str, object], place: str, words: str
) -> None:
    """An unknown model or precision names its place and the nearest that exists."""
    spec = _spec(scenarios=({"scenario": "traffic_prediction", "factors": factors},))
    with pytest.raises(SpecError) as caught:
        _plan(spec)
    assert place in (caught.value.place or "")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "place", "words"),
    [
        (
            {"loads": ({"arrival": "diurnal", "rate_hz": 20.0, "period_s": 15.0},)},
            "loads[0].period_s",
            ["1.33333 periods", "set trial.window_s to 15, or period_s to 20"],
        ),
        (
            {
                "loads": (
                    {
                        "arrival": "mmpp",
                        "quiet_rate_hz": 1.0,
                        "burst_rate_hz": 5.0,
                        "quiet_s": 9.0,
                        "burst_s": 1.0,
                    },
                )
            },
            "loads[0]",
            ["28 requests in a window", "at least 72"],
        ),
        ({"generator": {"processes": 3}}, "generator.processes", ["3 on 2 CPUs", "at most 1"]),
    ],
)
def test_loads_that_no_trial_can_hold_are_refused(
    changes: dict[str, object], place: str, words: list[str]
) -> None:
    """Half a day, too few requests, and more senders than CPUs are named with a remedy."""
    with pytest.raises(SpecError) as caught:
        _plan(_spec(**changes))
    assert caught.value.place == place
    for word in words:
        assert word in str(caught.value)


def test_closed_loads_are_planned_without_a_rate() -> None:
    """How many requests a closed loop has is known when it is over; a day may last a window."""
    loads = (
        {"arrival": "closed", "users": 4, "think_time_s": 0.1},
        {"arrival": "single_stream"},
        {"arrival": "offline", "samples": 10},
        {"arrival": "diurnal", "rate_hz": 20.0, "period_s": 0.1},
    )
    plan = _plan(_spec(loads=loads, repeats=1))
    rates_hz = {trial.load.rate_hz for trial in plan.trials if trial.load is not None}
    assert rates_hz == {None, 20.0}


def test_constraints_leave_cells_out() -> None:
    """What does not keep a condition is not measured, and the plan says how many and why."""
    plan = _plan(
        _spec(constraints=("batch == 1 or rate_hz > 10", "load != 'poisson 20 Hz' or batch > 1"))
    )
    cells = {(one.configuration.batch, str(one.load)) for one in plan.trials}
    assert cells == {(1, "poisson 10 Hz"), (8, "poisson 20 Hz")}
    found = [(entry.levels, entry.reason) for entry in plan.excluded[1:]]
    assert found == [
        ("3 cells", "constraint batch == 1 or rate_hz > 10"),
        ("3 cells", "constraint load != 'poisson 20 Hz' or batch > 1"),
    ]
    with pytest.raises(SpecError, match=r"constraints: found no cell left.*constraint batch > 8"):
        _plan(_spec(constraints=("batch > 8",)))
    with pytest.raises(SpecError, match=r"constraints\[0\].*did you mean 'batch'"):
        _plan(_spec(constraints=("bach > 8",)))


def test_a_fraction_and_a_hypercube_are_measured_in_blocks() -> None:
    """Each block has the same cells, fewer than all, and every level is still there."""
    whole = {one.cell for one in _plan(_spec()).trials}
    for subset, number in (({"fraction": 2}, None), ({"hypercube": 5}, 5)):
        plan = _plan(_spec(subset=subset))
        blocks = [{one.cell for one in plan.trials if one.block == block} for block in (1, 2, 3)]
        assert blocks[0] == blocks[1] == blocks[2] < whole
        assert number is None or len(blocks[0]) == number
        assert {cell[1] for cell in blocks[0]} == {"poisson 10 Hz", "poisson 20 Hz"}
        assert {cell[0].model for cell in blocks[0]} == {"ridge", "mlp"}
    with pytest.raises(SpecError, match=r"subset.fraction: found 5 for factors"):
        _plan(_spec(subset={"fraction": 5}))


def test_a_fraction_that_would_lose_levels_is_refused() -> None:
    """What would not be measured is named, with the fraction that has it; excluded cells are not.

    Four cells of twelve cannot hold six models.
    """
    models = ("ridge", "mlp", "tcn_s", "tcn_m", "tcn_l", "seasonal_naive")
    part = {"scenario": "traffic_prediction", "factors": {"model": models}}
    spec = _spec(scenarios=(part,), subset={"fraction": 3})
    with pytest.raises(SpecError) as caught:
        _plan(spec)
    assert caught.value.place == "subset.fraction"
    assert "3, and no trial of traffic_prediction with model=" in str(caught.value)
    assert "set it to 2" in str(caught.value)
    spec = spec.model_copy(update={"subset": Subset(fraction=2)})
    plan = _plan(spec)
    assert Counter(one.configuration.model for one in plan.trials) == dict.fromkeys(models, 3)
    few = spec.model_copy(update={"constraints": ("model in ('ridge', 'mlp', 'tcn_s')",)})
    assert {one.configuration.model for one in _plan(few).trials} == set(models[:3])
    part["factors"] = {"model": ("ridge",), "batch": (1, 2, 4, 8)}
    part["derived"] = {"threads": "batch"}
    spec = _spec(scenarios=(part,), loads=({"rate_hz": 10.0},), subset={"fraction": 2})
    with pytest.raises(SpecError, match=r"batch=\d or .*none has, so measure all cells"):
        plan_trials(spec, {"traffic_prediction": scenario("traffic_prediction")}, "x.yaml", cpus=16)


def test_more_than_a_plan_can_hold_is_refused() -> None:
    """Combinations, cells and trials are counted before any of them is made."""
    levels = tuple(range(1, 401))
    factors = {"model": ("ridge",), "batch": levels}
    part = {"scenario": "traffic_prediction", "factors": factors}
    wide = {"scenario": "traffic_prediction", "factors": factors | {"threads": levels}}
    loads = tuple({"rate_hz": 10.0 + level} for level in levels)
    for changes, place, found in (
        ({"scenarios": (wide,)}, "scenarios[0].factors", "160,000 combinations"),
        ({"loads": loads}, "scenarios[0]", "160,000 cells"),
        ({"repeats": 10_000}, "repeats", "8,000,000 trials"),
    ):
        with pytest.raises(SpecError, match="leave out levels") as caught:
            _plan(_spec(**{"scenarios": (part,)} | changes))
        assert (caught.value.place, caught.value.found) == (place, found)


def _derived(factors: dict[str, object], derived: dict[str, str]) -> Plan:
    part = {"scenario": "traffic_prediction", "factors": factors, "derived": derived}
    spec = _spec(scenarios=(part,))
    return plan_trials(
        spec, {"traffic_prediction": scenario("traffic_prediction")}, "x.yaml", cpus=4
    )


def test_levels_follow_from_others() -> None:
    """A derived factor is not crossed: each combination has the level that it gives."""
    plan = _derived({"model": ("ridge",), "batch": (1, 2, 8)}, {"threads": "min(batch, 3)"})
    found = {(one.configuration.batch, one.configuration.threads) for one in plan.trials}
    assert found == {(1, 1), (2, 2), (8, 3)}


def test_a_knob_follows_only_where_a_model_has_it() -> None:
    """A model without exits has no last exit, whatever it follows from."""
    plan = _derived({"model": ("ridge", "tcn_s"), "batch": (1, 8)}, {"max_exit": "1 + batch // 8"})
    found = {
        (one.configuration.model, one.configuration.batch, one.configuration.max_exit)
        for one in plan.trials
    }
    assert found == {("ridge", 1, None), ("ridge", 8, None), ("tcn_s", 1, 1), ("tcn_s", 8, 2)}


@pytest.mark.parametrize(
    ("factors", "derived", "said"),
    [
        ({}, {"model": "'ridge'"}, r"derived.model: found 'model', expected one of batch"),
        ({}, {"speed": "1"}, r"derived.speed: found 'speed', expected one of batch"),
        ({"threads": (1, 2)}, {"threads": "batch"}, "found levels under `factors`, too"),
        ({}, {"threads": "batch - 1"}, r"derived.threads: found 0 for model=ridge.*batch=1"),
        ({}, {"threads": "batch / 2"}, r"derived.threads: found 0.5 for"),
        ({}, {"threads": "threds"}, "unknown name 'threds'"),
        ({}, {"threads": "batch", "batch": "threads"}, "unknown name 'batch'"),
        ({"model": ("tcn_s",)}, {"max_exit": "batch + 3"}, "at most 3, the exits of tcn_s"),
    ],
)
def test_levels_that_cannot_follow_are_refused(
    factors: dict[str, object], derived: dict[str, str], said: str
) -> None:
    """No factor, two ways of saying it, and levels that the factor cannot have."""
    base = {"model": ("ridge",)} if "batch" in derived else {"model": ("ridge",), "batch": (1, 8)}
    with pytest.raises(SpecError, match=said):
        _derived(base | factors, derived)


def test_a_search_has_as_many_rounds_as_it_needs() -> None:
    """Each block has every step of every configuration, and no load is known before."""
    search = {"lowest_hz": 20.0, "highest_hz": 200.0, "resolution_ratio": 0.1, "retries": 1}
    plan = _plan(_spec(loads=(), search=search, repeats=2))
    rounds = Counter((one.block, one.load_index) for one in plan.trials)
    # Halving the logarithm of 10 five times comes below that of 1.1; and a retry.
    assert set(rounds) == {(block, step) for block in (1, 2) for step in range(6)}
    assert set(rounds.values()) == {6}
    assert {str(one.load) for one in plan.trials} == {"poisson 20 to 200 Hz"}
    with pytest.raises(SpecError, match=r"search.lowest_hz: found 20 requests"):
        _plan(_spec(loads=(), search=search, trial={"window_s": 1.0}))
    # By chance a window of 80 on average has but 53: enough for a search by the clock alone.
    light = search | {"lowest_hz": 80.0}
    with pytest.raises(SpecError, match=r"80 requests in a window, 53 by bad luck, .* to 1.4 or"):
        _plan(_spec(loads=(), search=light, trial={"window_s": 1.0}))
    for ample in ({"search": light | {"arrival": "constant"}}, {"trial": {"window_s": 1.4}}):
        _plan(_spec(**{"loads": (), "search": light, "trial": {"window_s": 1.0}} | ample))


def test_networks_are_levels() -> None:
    """Every cell is measured through every network."""
    networks = (preset("lan"), preset("4g"))
    plan = plan_trials(
        _spec(constraints=("network != '4g' or batch == 1",)),
        {"traffic_prediction": scenario("traffic_prediction")},
        "x.yaml",
        cpus=2,
        networks=networks,
    )
    block = [one for one in plan.trials if one.block == 1]
    assert Counter(one.cell[2] for one in block) == {"lan": 12, "4g": 6}
    with pytest.raises(SpecError, match="networks: found lan twice"):
        plan_trials(_spec(), {}, "x.yaml", cpus=2, networks=(preset("lan"), preset("lan")))
