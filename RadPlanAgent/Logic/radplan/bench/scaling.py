"""How the time of an evaluation grows with the size of the matrix."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..case_checks import bind
from ..dose_setup import influence_for
from ..io import load_case
from ..observer import Observer
from ..optimize import FluenceProblem, StructureIndex
from ..plan_request import PlanRequest
from ..protocol_file import load_protocol
from .problem import BenchProblem, first_plan_problem

#: Number of beams, and width of a dose voxel in mm: more beams on one grid, and finer grids.
SIZES = ((1, 5.0), (9, 5.0), (36, 5.0), (9, 4.0), (9, 3.0), (9, 2.5))
EVALUATIONS = 25


@dataclass(frozen=True)
class ScalingPoint:
    """The time of an evaluation (cost and gradient) at one size.

    Parameters
    ----------
    beams : int
        At equal angles around the patient.
    spacing_mm : float
        Width of a dose voxel.
    beamlets, entries : int
        Of the matrix.
    counted_entries : int
        In the rows of voxels that an objective counts: all of them are evaluated.
    milliseconds, processor_milliseconds : float
        Medians; the latter over all threads, whatever else the machine does.
    nanoseconds_per_entry : float
        Processor time by counted entry.
    """

    beams: int
    spacing_mm: float
    beamlets: int
    entries: int
    counted_entries: int
    milliseconds: float
    processor_milliseconds: float
    nanoseconds_per_entry: float


@dataclass(frozen=True)
class ScalingBench:
    """All sizes of one case."""

    case: str
    protocol: str
    points: tuple[ScalingPoint, ...]


def bench_scaling(
    case_name: str, protocol_name: str, cache_dir: Path | None, observer: Observer
) -> ScalingBench:
    """Time evaluations of a case's first plan, for all `SIZES`.

    Parameters
    ----------
    case_name, protocol_name : str
    cache_dir : Path, optional
        Where influence matrices are kept.
    observer : Observer
    """
    case, binding = bind(load_case(case_name, observer.progress), load_protocol(protocol_name))
    points = []
    for beams, spacing_mm in SIZES:
        observer.note(f"{case.name}: {beams} beams, {spacing_mm:g} mm")
        angles = ",".join(f"{360 * k / beams:g}" for k in range(beams))
        request = PlanRequest(
            case_name,
            protocol_name,
            Path(),
            beams=angles,
            spacing_mm=spacing_mm,
            cache_dir=cache_dir,
        )
        influence = influence_for(case, binding, request, observer)
        problem = first_plan_problem(case, binding.protocol, influence)
        points.append(evaluation_time(problem, spacing_mm))
    return ScalingBench(case.name, protocol_name, tuple(points))


def evaluation_time(problem: BenchProblem, spacing_mm: float) -> ScalingPoint:
    """Time evaluations at a flat fluence, all rows packed and evaluated."""
    influence = problem.influence
    every_voxel = StructureIndex(problem.regions, voxel_limit=influence.grid.size)
    evaluated = FluenceProblem(influence, every_voxel, problem.objectives)
    rows = np.unique(
        np.concatenate([voxels.rows for _, voxels, _ in evaluated.terms_on_all_voxels()])
    )
    first = problem.objectives[0]  # of a target
    level_gy = evaluated.mean_dose_per_unit_fluence(first.structure)
    flat = np.full(influence.n_beamlets, first.dose_gy / level_gy)
    evaluated.value_and_gradient(flat)  # loads the compiled loops
    wall, processor = [], []
    for _ in range(EVALUATIONS):
        began = time.perf_counter(), time.process_time()
        evaluated.value_and_gradient(flat)
        wall.append(time.perf_counter() - began[0])
        processor.append(time.process_time() - began[1])
    counted = int(np.diff(influence.matrix.indptr)[rows].sum())
    return ScalingPoint(
        len(influence.beams),
        spacing_mm,
        influence.n_beamlets,
        int(influence.matrix.nnz),
        counted,
        1e3 * float(np.median(wall)),
        1e3 * float(np.median(processor)),
        1e9 * float(np.median(processor)) / counted,
    )
