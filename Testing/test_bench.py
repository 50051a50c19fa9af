"""The comparison with pyRadPlan's optimizer."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from radplan.beams import Beam
from radplan.bench import CaseBench, Run, _against, bench_table, write_bench
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
    ours = Run("radplan", 9.0, 4.0, 8.0, 50, ((1.0, 30.0), (2.0, 10.05), (4.0, 9.0)))
    slow = _against(Run("slow", 10.0, 40.0, 40.0, 500, ((40.0, 10.0),)), ours)
    assert (slow.ours_seconds, slow.ratio) == (2.0, 20.0)
    better = _against(Run("better", 8.0, 40.0, 40.0, 500, ((40.0, 8.0),)), ours)
    assert better.ratio is None, "ours never came there"
    bench = CaseBench("case", "protocol", 9, 30, 99, 4, 240, 0.4, 1e-3, (), (ours, slow, better))
    assert "| case | slow | 10 | 40.0 | 40.0 | 500 | 2.0 s | 20 |" in bench_table([bench])
    write_bench(tmp_path, [bench])
    assert {p.name for p in tmp_path.iterdir()} == {"bench.json", "convergence_case.png"}
