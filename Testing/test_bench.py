"""The comparison with pyRadPlan's optimizer."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from radplan.beams import Beam
from radplan.bench import (
    CaseBench,
    Run,
    ScalingBench,
    optimizer_table,
    scaling_table,
    write_optimizer_bench,
    write_scaling_bench,
)
from radplan.bench.memory import peak_growth_bytes
from radplan.bench.optimizers import _against, bench_runs
from radplan.bench.problem import BenchProblem
from radplan.bench.scaling import ScalingPoint, evaluation_time
from radplan.errors import InputError
from radplan.geometry import Grid, Occupancy
from radplan.influence.matrix import Beamlets, InfluenceMatrix
from radplan.influence.pyradplan_optimizer import PeerObjective, peer_fluence, peer_solvers
from radplan.optimize import FluenceProblem, Objective, StructureIndex, optimize_fluence


@pytest.fixture
def problem():
    """A random problem of 240 voxels with a target and an organ."""
    rng = np.random.default_rng(3)
    dense = rng.uniform(0, 1, (240, 30)) * (rng.uniform(size=(240, 30)) < 0.4)
    influence = InfluenceMatrix(
        sparse.csr_array(dense.astype(np.float32)),
        Grid((6, 5, 8), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0)),
        (Beam(0.0, (0.0, 0.0, 0.0)),),
        Beamlets(np.zeros(30, np.int32), np.zeros(30, np.float32), np.zeros(30, np.float32)),
        "test",
        "0",
    )
    masks = {"PTV": np.arange(240) < 60, "Organ": (np.arange(240) >= 50) & (np.arange(240) < 140)}
    return influence, {name: mask.reshape(6, 5, 8) for name, mask in masks.items()}


def test_peer_solves_the_same_problem(problem):
    """Same objectives on the same voxels: the peer's cost is ours, and so is its optimum."""
    pytest.importorskip("pyRadPlan", reason="pyRadPlan is not installed")
    influence, masks = problem
    objectives = [
        Objective("PTV", "squared_underdosing", 100.0, 50.0),
        Objective("PTV", "squared_overdosing", 50.0, 52.0),
        Objective("Organ", "squared_deviation", 1.0, 10.0),
        Objective("Organ", "mean_dose", 2.0),
    ]
    given = [
        PeerObjective(masks[o.structure], o.function, o.weight, o.dose_gy, o.volume_percent)
        for o in objectives
    ]
    index = StructureIndex(
        {name: Occupancy.from_array(influence.grid, mask) for name, mask in masks.items()}
    )
    ours = FluenceProblem(influence, index, objectives)
    assert "scipy" in peer_solvers()
    result = peer_fluence(influence, given, "scipy")
    cost = ours.exact_costs(result.fluence)[1].value
    assert cost == pytest.approx(min(result.history), rel=1e-5)
    assert optimize_fluence(ours, np.zeros(30)).objective_value <= cost * 1.001


def test_objective_that_the_peer_lacks_is_named(problem):
    pytest.importorskip("pyRadPlan", reason="pyRadPlan is not installed")
    influence, masks = problem
    with pytest.raises(InputError, match="soft_maximum"):
        peer_fluence(
            influence, [PeerObjective(masks["PTV"], "soft_maximum", 1.0, 3.0, None)], "scipy"
        )


def test_ratio_is_time_to_come_within_one_percent(tmp_path):
    ours = Run(
        "radplan", 9.0, 4.0, 8.0, 50, ((1.0, 1.5, 30.0), (2.0, 4.0, 10.05), (4.0, 8.0, 9.0))
    )
    slow = _against(Run("slow", 10.0, 40.0, 50.0, 500, ((40.0, 50.0, 10.0),)), ours)
    assert (slow.ours_seconds, slow.ratio) == (2.0, 20.0)
    assert (slow.ours_processor_seconds, slow.processor_ratio) == (4.0, 12.5)
    better = _against(Run("better", 8.0, 40.0, 40.0, 500, ((40.0, 40.0, 8.0),)), ours)
    assert better.ratio is None, "ours never came there"
    bench = CaseBench("case", "protocol", 9, 30, 99, 4, 240, (), (ours, slow, better))
    table = optimizer_table([bench])
    assert "| case | slow | 10 | 40.0 | 50.0 | 500 |  |  | 2.0 | 20 | 4.0 | 12 |" in table
    write_optimizer_bench(tmp_path, [bench])
    assert {p.name for p in tmp_path.iterdir()} == {"bench.json", "convergence_case.png"}


@pytest.fixture
def bench_problem(problem):
    """The same as every optimizer is given it, with convex objectives."""
    influence, masks = problem
    regions = {name: Occupancy.from_array(influence.grid, mask) for name, mask in masks.items()}
    objectives = (
        Objective("PTV", "squared_underdosing", 100.0, 50.0),
        Objective("PTV", "squared_overdosing", 50.0, 52.0),
        Objective("Organ", "mean_dose", 2.0),
    )
    return BenchProblem(influence, regions, objectives)


def test_run_to_the_end_converges_and_is_no_worse(bench_problem, monkeypatch):
    monkeypatch.setattr("radplan.bench.optimizers.peer_solvers", tuple)
    announced = []
    (ours, to_the_end), shortcuts = bench_runs(bench_problem, announced.append)
    assert announced == ["radplan", "radplan, to the end"]
    assert shortcuts
    assert to_the_end.projected_gradient <= 1.01e-6
    assert to_the_end.cost <= ours.cost * (1 + 1e-9)
    assert ours.curve[-1] == (ours.seconds, ours.processor_seconds, ours.cost)


def test_peer_is_timed_on_the_same_problem(bench_problem, monkeypatch):
    pytest.importorskip("pyRadPlan", reason="pyRadPlan is not installed")
    monkeypatch.setattr("radplan.bench.optimizers.peer_solvers", lambda: ("scipy",))
    ours, to_the_end, peer = bench_runs(bench_problem, lambda name: None)[0]
    assert peer.name == "pyRadPlan, scipy"
    assert peer.cost == pytest.approx(to_the_end.cost, rel=1e-3)
    assert min(cost for *_, cost in peer.curve) == pytest.approx(peer.cost, rel=1e-5)
    assert len(peer.curve) == peer.evaluations
    assert 0 < peer.ours_seconds <= ours.seconds


def test_peak_memory_counts_what_is_written_to_and_given_back():
    megabyte = 1_000_000
    if peak_growth_bytes(lambda: None) is None:
        pytest.skip("this system does not tell the peak of resident memory")

    def work():
        np.ones(100 * megabyte, np.uint8)
        np.empty(400 * megabyte, np.uint8)

    assert 95 * megabyte < peak_growth_bytes(work) < 130 * megabyte


def test_scaling_counts_the_entries_of_voxels_with_objectives(bench_problem, tmp_path):
    point = evaluation_time(bench_problem, 3.0)
    # The organ has a mean dose only, which is one vector.
    target = bench_problem.influence.matrix[:60]
    assert (point.beams, point.beamlets) == (1, 30)
    assert point.counted_entries == target.nnz < point.entries
    larger = ScalingPoint(9, 2.5, 300, 2_000_000, 1_500_000, 3.21, 6.0, 4.0)
    bench = ScalingBench("case", "protocol", (point, larger))
    assert "| 9 | 2.5 | 300 | 2.0 | 1.5 | 3.2 | 6.0 | 4.00 |" in scaling_table(bench)
    write_scaling_bench(tmp_path, bench)
    assert {p.name for p in tmp_path.iterdir()} == {"scaling_case.json", "scaling_case.png"}
