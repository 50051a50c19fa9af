"""``radplan bench optimize``: our optimizer against pyRadPlan's, in one run on one machine.

Same influence matrix, same objectives on the same voxels, same start (no fluence at all). Every
cost is evaluated by the same code, on all voxels, in double precision.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from .agent.helpers import make_planning_structures
from .agent.initial import initial_objectives
from .case_checks import bind
from .geometry import Occupancy
from .influence.matrix import InfluenceMatrix
from .influence.pyradplan_optimizer import FUNCTIONS, PeerObjective, peer_fluence, peer_solvers
from .io import load_case
from .optimize import FluenceProblem, Objective, SolverSettings, StructureIndex, optimize_fluence
from .planning import Observer, PlanRequest, influence_for
from .protocol import load_protocol
from .session import SessionSettings
from .session_folder import write_json

#: Our run counts as there when its cost is at most this much above the peer's last.
CLOSE_ENOUGH = 1.01
#: Points of our run at which the cost on all voxels is evaluated, for the plot and the crossing.
CURVE_POINTS = 40
#: Settings with which ours goes on long enough to be compared with the end of the peer's.
SETTINGS = SolverSettings(max_iterations=2000, relative_improvement=1e-6)


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
    curve : tuple of (float, float)
        Seconds and cost on the way.
    ratio : float or None
        For a peer: its seconds over those ours needs to come within 1 % of its cost; None where
        ours does not.
    ours_seconds : float or None
        Those seconds.
    """

    name: str
    cost: float
    seconds: float
    processor_seconds: float
    evaluations: int
    curve: tuple[tuple[float, float], ...]
    ratio: float | None = None
    ours_seconds: float | None = None


@dataclass(frozen=True)
class CaseBench:
    """All runs on one case."""

    case: str
    protocol: str
    beams: int
    beamlets: int
    nonzeros: int
    objectives: int
    voxels: int
    rows_memory: float
    projected_gradient: float
    shortcuts: tuple[str, ...]
    runs: tuple[Run, ...]


def bench_optimizer(
    case_name: str, protocol_name: str, cache_dir: Path | None, observer: Observer
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
    structures = make_planning_structures(case, binding.protocol, influence.grid)
    objectives = tuple(
        o
        for o in initial_objectives(case, binding.protocol, structures)
        if o.function in FUNCTIONS
    )
    # The peer knows whole voxels only.
    whole = {
        name: Occupancy.from_array(influence.grid, structures.occupancies[name].mask())
        for name in {o.structure for o in objectives}
    }
    objectives = tuple(o for o in objectives if not whole[o.structure].is_empty)
    # One exact judge for all: no voxel left out.
    judge = FluenceProblem(influence, StructureIndex(whole), objectives)

    def cost(fluence: np.ndarray) -> float:
        return judge.exact_costs(fluence)[1].value

    _warm_up(influence, objectives, whole)
    observer.note(f"{case.name}: {influence.n_beamlets} beamlets, ours")
    ours, details = _our_run(influence, whole, objectives, cost)
    peers = []
    for solver in peer_solvers():
        observer.note(f"{case.name}: pyRadPlan, {solver}")
        peers.append(_against(_peer_run(influence, whole, objectives, solver, cost), ours))
    return CaseBench(
        case.name,
        protocol_name,
        len(influence.beams),
        influence.n_beamlets,
        int(influence.matrix.nnz),
        len(objectives),
        int(sum(np.count_nonzero(o.values) for o in whole.values())),
        runs=(ours, *peers),
        **details,
    )


def _warm_up(
    influence: InfluenceMatrix, objectives: Sequence[Objective], whole: dict[str, Occupancy]
) -> None:
    """Load compiled loops, which happens once per process, before anything is timed."""
    problem = FluenceProblem(influence, StructureIndex(whole, voxel_limit=10), objectives)
    optimize_fluence(problem, np.zeros(influence.n_beamlets), SolverSettings(max_iterations=2))


class _RecordedProblem(FluenceProblem):
    """Remembers when which fluence was evaluated."""

    def __init__(self, *args, clock: Callable[[], float]) -> None:
        self.evaluated: list[tuple[float, np.ndarray]] = []
        self._clock = clock
        super().__init__(*args)

    def value_and_gradient(self, fluence: np.ndarray) -> tuple[float, np.ndarray]:
        result = super().value_and_gradient(fluence)
        self.evaluated.append((self._clock(), fluence.copy()))
        return result


def _our_run(
    influence: InfluenceMatrix,
    whole: dict[str, Occupancy],
    objectives: Sequence[Objective],
    cost: Callable[[np.ndarray], float],
) -> tuple[Run, dict]:
    began, processor = time.perf_counter(), time.process_time()
    index = StructureIndex(whole, SessionSettings().voxel_limit)
    problem = _RecordedProblem(
        influence, index, objectives, clock=lambda: time.perf_counter() - began
    )
    result = optimize_fluence(problem, np.zeros(influence.n_beamlets), SETTINGS)
    seconds, processor = time.perf_counter() - began, time.process_time() - processor
    last = len(problem.evaluated) - 1
    chosen = np.unique(np.geomspace(1, last, CURVE_POINTS).astype(int))
    curve = [(problem.evaluated[k][0], cost(problem.evaluated[k][1])) for k in chosen]
    curve.append((seconds, result.objective_value_all_voxels))
    details = {
        "rows_memory": problem.memory_share,
        "projected_gradient": result.projected_gradient,
        "shortcuts": result.shortcuts,
    }
    run = Run(
        "radplan",
        result.objective_value_all_voxels,
        seconds,
        processor,
        result.evaluations,
        tuple(curve),
    )
    return run, details


def _peer_run(
    influence: InfluenceMatrix,
    whole: dict[str, Occupancy],
    objectives: Sequence[Objective],
    solver: str,
    cost: Callable[[np.ndarray], float],
) -> Run:
    processor = time.process_time()
    given = [
        PeerObjective(whole[o.structure].mask(), o.function, o.weight, o.dose_gy, o.volume_percent)
        for o in objectives
    ]
    result = peer_fluence(influence, given, solver)
    # It tells its cost at every evaluation, not when; evaluations take equal times.
    when = np.linspace(0, result.seconds, len(result.history) + 1)[1:]
    curve = tuple(zip(when.tolist(), map(float, result.history), strict=True))
    return Run(
        f"pyRadPlan, {solver}",
        cost(result.fluence),
        result.seconds,
        time.process_time() - processor,
        len(result.history),
        curve,
    )


def _against(peer: Run, ours: Run) -> Run:
    """The peer's run with how long ours took to come as far."""
    there = [seconds for seconds, cost in ours.curve if cost <= CLOSE_ENOUGH * peer.cost]
    if not there:
        return peer
    return Run(**(vars(peer) | {"ratio": peer.seconds / min(there), "ours_seconds": min(there)}))


def machine() -> str:
    """The machine in a few words."""
    name = platform.processor() or platform.machine()
    if (cpuinfo := Path("/proc/cpuinfo")).is_file():
        names = [line for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = names[0].split(":", 1)[1].strip() if names else name
    usable = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)
    return f"{name}, {len(usable)} cores, Python {platform.python_version()}"


def bench_table(benches: Sequence[CaseBench]) -> str:
    """The runs as a Markdown table."""
    lines = [
        "| case | optimizer | cost | seconds | processor s | evaluations | ours to 1 % | ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for bench in benches:
        for run in bench.runs:
            reached = f"{run.ours_seconds:.1f} s" if run.ours_seconds is not None else ""
            ratio = f"{run.ratio:.0f}" if run.ratio is not None else ""
            lines.append(
                f"| {bench.case} | {run.name} | {run.cost:.4g} | {run.seconds:.1f} "
                f"| {run.processor_seconds:.1f} | {run.evaluations} | {reached} | {ratio} |"
            )
    return "\n".join(lines)


def write_bench(folder: Path, benches: Sequence[CaseBench]) -> None:
    """Write bench.json and one picture per case."""
    from .figures import CostCurve, convergence_figure, save_png

    folder.mkdir(parents=True, exist_ok=True)
    write_json(
        folder / "bench.json", {"machine": machine(), "cases": [asdict(b) for b in benches]}
    )
    for bench in benches:
        curves = [CostCurve(r.name, *zip(*r.curve, strict=True)) for r in bench.runs]
        title = f"{bench.case}: {bench.beamlets} beamlets, {bench.nonzeros / 1e6:.0f} M entries"
        lowest = min(r.cost for r in bench.runs)
        figure = convergence_figure(title, curves, lowest)
        save_png(figure, folder / f"convergence_{bench.case}.png")
