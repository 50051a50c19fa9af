"""Our optimizer and pyRadPlan's on the same problem, in one run on one machine.

Same influence matrix, same objectives on the same voxels, same start (no fluence at all). Every
cost is evaluated by the same code, on all voxels, in double precision.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..case_checks import bind
from ..dose_setup import influence_for
from ..influence.pyradplan_optimizer import PeerObjective, peer_fluence, peer_solvers
from ..io import load_case
from ..observer import Observer
from ..optimize import FluenceProblem, SolverSettings, StructureIndex, optimize_fluence
from ..plan_request import PlanRequest
from ..protocol_file import load_protocol
from ..session_settings import SessionSettings
from .memory import peak_growth_bytes
from .problem import BenchProblem, first_plan_problem

#: Our run counts as there when its cost is at most this much above the peer's last.
CLOSE_ENOUGH = 1.01
#: Factor between the numbers of evaluations after which the cost of our run on all voxels is
#: looked at, for the plot and the crossing.
CURVE_STEP = 1.1
#: Settings with which ours goes on long enough to be compared with the end of the peer's.
DESCENT = SolverSettings(max_iterations=2000, relative_improvement=1e-6)
#: Settings with which ours converges.
TO_THE_END = replace(SessionSettings().first, small_gradient=1e-6)


@dataclass(frozen=True)
class Run:
    """One optimizer on one problem.

    Parameters
    ----------
    name : str
    cost : float
        On all voxels, in double precision.
    seconds, processor_seconds : float
        Preparation included; the latter over all threads.
    evaluations : int
        Of cost and gradient; ours to the end has others besides.
    curve : tuple of (float, float, float)
        Seconds, processor seconds and cost on the way.
    projected_gradient : float or None
        Of ours: how far the conditions of optimality are missed, relative to the start.
    memory : float or None
        Of ours: matrix and all that the optimizer adds at its peak, relative to the matrix as
        stored.
    ours_seconds, ours_processor_seconds : float or None
        Of a peer: after how long ours comes within 1 % of its cost; None where it does not.
    ratio, processor_ratio : float or None
        The peer's seconds over those. On a busy machine the latter says more.
    """

    name: str
    cost: float
    seconds: float
    processor_seconds: float
    evaluations: int
    curve: tuple[tuple[float, float, float], ...]
    projected_gradient: float | None = None
    memory: float | None = None
    ours_seconds: float | None = None
    ours_processor_seconds: float | None = None
    ratio: float | None = None
    processor_ratio: float | None = None


@dataclass(frozen=True)
class CaseBench:
    """All runs on one case.

    Parameters
    ----------
    case, protocol : str
    beams, beamlets, nonzeros, objectives : int
    voxels : int
        Of all structures with objectives, together.
    shortcuts : tuple of str
        What ours did to be fast.
    runs : tuple of Run
    """

    case: str
    protocol: str
    beams: int
    beamlets: int
    nonzeros: int
    objectives: int
    voxels: int
    shortcuts: tuple[str, ...]
    runs: tuple[Run, ...]


def bench_optimizer(
    case_name: str,
    protocol_name: str,
    cache_dir: Path | None,
    observer: Observer,
) -> CaseBench:
    """Optimize the first plan of a case with every optimizer there is.

    Parameters
    ----------
    case_name, protocol_name : str
        What `radplan.io.load_case` and `load_protocol` take.
    cache_dir : Path, optional
        Where influence matrices are kept.
    observer : Observer
    """
    case, binding = bind(load_case(case_name, observer.progress), load_protocol(protocol_name))
    request = PlanRequest(case_name, protocol_name, Path(), cache_dir=cache_dir)
    influence = influence_for(case, binding, request, observer)
    problem = first_plan_problem(case, binding.protocol, influence)
    runs, shortcuts = bench_runs(
        problem, lambda name: observer.note(f"{case.name}: {name}")
    )
    return CaseBench(
        case.name,
        protocol_name,
        len(influence.beams),
        influence.n_beamlets,
        int(influence.matrix.nnz),
        len(problem.objectives),
        int(sum(np.count_nonzero(region.values) for region in problem.regions.values())),
        shortcuts,
        runs,
    )


def bench_runs(
    problem: BenchProblem, announce: Callable[[str], None]
) -> tuple[tuple[Run, ...], tuple[str, ...]]:
    """Every optimizer on one problem, each announced by its name.

    Returns
    -------
    tuple of Run, tuple of str
        The runs and our shortcuts.
    """
    _warm_up(problem)
    announce("radplan")
    ours, shortcuts = _our_run("radplan", problem, DESCENT)
    announce("radplan, to the end")
    runs = [ours, _our_run("radplan, to the end", problem, TO_THE_END)[0]]
    for solver in peer_solvers():
        announce(f"pyRadPlan, {solver}")
        runs.append(_against(_peer_run(problem, solver), ours))
    return tuple(runs), shortcuts


def _warm_up(problem: BenchProblem) -> None:
    """Load compiled loops, which happens once per process, before anything is timed."""
    small = FluenceProblem(
        problem.influence, StructureIndex(problem.regions, voxel_limit=10), problem.objectives
    )
    optimize_fluence(small, problem.start, SolverSettings(max_iterations=2))


@dataclass(frozen=True)
class _Clock:
    """Seconds, and processor seconds of all threads, since it was made."""

    began: float = field(default_factory=time.perf_counter)
    processor_began: float = field(default_factory=time.process_time)

    def now(self) -> tuple[float, float]:
        return time.perf_counter() - self.began, time.process_time() - self.processor_began


class _RecordedProblem(FluenceProblem):
    """Remembers when which fluence was evaluated, the more seldom the longer it goes on."""

    def __init__(self, *args, clock: _Clock) -> None:
        self.evaluated: list[tuple[tuple[float, float], np.ndarray]] = []
        self._clock, self._next = clock, 1.0
        super().__init__(*args)

    def value_and_gradient(self, fluence: np.ndarray) -> tuple[float, np.ndarray]:
        result = super().value_and_gradient(fluence)
        if self.evaluations >= self._next:
            self.evaluated.append((self._clock.now(), fluence.copy()))
            self._next = max(self._next + 1, self._next * CURVE_STEP)
        return result


def _our_run(
    name: str, problem: BenchProblem, settings: SolverSettings
) -> tuple[Run, tuple[str, ...]]:
    """Ours with some settings, and its shortcuts."""
    recorded, result = None, None

    def optimize() -> None:
        nonlocal recorded, result
        index = StructureIndex(problem.regions, SessionSettings().voxel_limit)
        recorded = _RecordedProblem(problem.influence, index, problem.objectives, clock=clock)
        result = optimize_fluence(recorded, problem.start, settings)

    clock = _Clock()
    growth = peak_growth_bytes(optimize)
    end = clock.now()
    cost = problem.cost(result.fluence)
    on_the_way = [(*when, problem.cost(fluence)) for when, fluence in recorded.evaluated[1:]]
    # What the interior point method does in between is not known; it ends at once in the plot.
    ends = [(*end, on_the_way[-1][-1]), (*end, cost)]
    run = Run(
        name,
        cost,
        *end,
        result.evaluations,
        (*on_the_way, *ends),
        result.projected_gradient,
        None if growth is None else 1 + growth / problem.stored_bytes,
    )
    return run, result.shortcuts


def _peer_run(problem: BenchProblem, solver: str) -> Run:
    clock = _Clock()
    given = [
        PeerObjective(
            problem.regions[o.structure].mask(),
            o.function,
            o.weight,
            o.dose_gy,
            o.volume_percent,
        )
        for o in problem.objectives
    ]
    result = peer_fluence(problem.influence, given, solver)
    processor = clock.now()[1]
    # It tells its cost at every evaluation, not when; evaluations take equal times.
    share = np.linspace(0, 1, len(result.history) + 1)[1:]
    curve = zip(share * result.seconds, share * processor, result.history, strict=True)
    return Run(
        f"pyRadPlan, {solver}",
        problem.cost(result.fluence),
        result.seconds,
        processor,
        len(result.history),
        tuple(tuple(map(float, point)) for point in curve),
    )


def _against(peer: Run, ours: Run) -> Run:
    """The peer's run with how long ours took to come as far."""
    there = [when for *when, cost in ours.curve if cost <= CLOSE_ENOUGH * peer.cost]
    if not there:
        return peer
    seconds, processor = there[0]
    return replace(
        peer,
        ours_seconds=seconds,
        ours_processor_seconds=processor,
        ratio=peer.seconds / seconds,
        processor_ratio=peer.processor_seconds / processor,
    )
