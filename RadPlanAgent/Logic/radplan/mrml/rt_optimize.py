"""Our optimizer on a plan of SlicerRT: objectives of its table, matrices of its beam nodes.

Runs in Slicer's own Python, with numpy and scipy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import slicer
from vtkmodules.vtkCommonDataModel import vtkImageData

from ..errors import InputError
from ..geometry import Grid, Occupancy
from ..optimize import (
    CONSTRAINT_KINDS,
    OBJECTIVE_FUNCTIONS,
    ConstrainedResult,
    Constraint,
    FluenceProblem,
    Objective,
    StructureIndex,
    constraint_parameters,
    optimize_constrained,
    optimize_fluence,
)
from ..progress import ProgressReport, silent
from ..sampling import StructureSampler
from .geometry import FLIP_XY, fill_image, matrix_of
from .read_segments import read_segment
from .read_volume import ijk_to_lps
from .rt_influence import DoseImageGrid, dose_image_grid, influence_from_beams
from .volumes import DOSE_VOLUME

#: Volume of the target that gets the prescription.
NORMALIZATION_PERCENT = 95.0
#: What a new row of SlicerRT's objectives table starts with. Doses in Gy for the whole course.
DEFAULTS = {"dose_gy": 50.0, "volume_percent": 50.0, "exponent": 8.0}
#: Rows of the table that are constraints start with this; SlicerRT has a column for constraints,
#: but does not let an optimizer written in Python fill it.
CONSTRAINT = "constraint_"
#: Attributes of the dose volume: factor on the optimized dose, and what it was scaled to.
SCALE_FACTOR, NORMALIZED_TO = "RadPlanAgent.ScaleFactor", "RadPlanAgent.NormalizedTo"


@dataclass(frozen=True)
class OptimizedDose:
    """A finished dose.

    Parameters
    ----------
    grid : DoseImageGrid
        In the order of SlicerRT's engine.
    dose_gy : ndarray of float32, (z, y, x) of our grid
    scale : float
        By which the optimizer's dose was multiplied to meet the prescription; 1 with constraints.
    normalized_to : str
        What was scaled to what, in words.
    status : str
        Why the optimizer stopped, and how constraints are kept.
    """

    grid: DoseImageGrid
    dose_gy: np.ndarray
    scale: float
    normalized_to: str
    status: str


def available_objectives() -> dict[str, dict[str, dict[str, float]]]:
    """Functions, their parameters and defaults, as SlicerRT's objectives table asks for them."""
    names = (*OBJECTIVE_FUNCTIONS, *(f"{CONSTRAINT}{kind}" for kind in CONSTRAINT_KINDS))
    return {name: {p: {"default": DEFAULTS[p]} for p in _parameters(name)} for name in names}


def optimize_rt_plan(
    plan: slicer.vtkMRMLRTPlanNode,
    nodes: Sequence[slicer.vtkMRMLRTObjectiveNode],
    progress: ProgressReport = silent,
) -> OptimizedDose:
    """Find the fluence of least cost, and scale its dose to the plan's prescription.

    The prescription (RxDose) goes to D95 % of the first target segment of the plan. Where the
    table has constraints, whose doses scaling would change, it is one more of them.

    Raises
    ------
    InputError
        If the plan lacks a target, a positive prescription, matrices, or objectives; an objective
        has no segment, an unknown function or parameters that are no numbers; constraints cannot
        be kept; or the target gets no dose.
    """
    prescription_gy = float(plan.GetRxDose())
    if not prescription_gy > 0:
        raise InputError(f"plan {plan.GetName()!r}: the prescription (Rx dose) must be positive")
    segmentation, target_ids = plan.GetSegmentationNode(), plan.GetTargetSegmentIDs()
    if segmentation is None or not target_ids:
        raise InputError(f"plan {plan.GetName()!r} has no target segment; choose one")
    if segmentation.GetSegmentation().GetSegment(target_ids[0]) is None:
        raise InputError(
            f"plan {plan.GetName()!r}: its target segment {target_ids[0]!r} does not exist any "
            "more; choose another"
        )
    progress("reading influence matrices", 0.0)
    influence, grid = influence_from_beams(plan), dose_image_grid(plan)
    regions = _Regions(_ct_grid(plan), influence.grid)
    target = regions.name(segmentation, target_ids[0])
    rows = [_row(node, number, regions) for number, node in enumerate(nodes, start=1)]
    objectives = [row for row in rows if isinstance(row, Objective)]
    constraints = [row for row in rows if isinstance(row, Constraint)]
    if not objectives:
        raise InputError("there are no objectives; add some to the objectives table")
    problem = FluenceProblem(influence, StructureIndex(regions.on_dose_grid), objectives)
    flat = problem.flat_fluence(target, prescription_gy)
    coverage = f"D{NORMALIZATION_PERCENT:g}% of {target}"
    if constraints:
        prescribed = Constraint(
            target, "min_dose_at_volume", prescription_gy, NORMALIZATION_PERCENT
        )
        kept = _keeping_to(
            optimize_constrained(problem, [*constraints, prescribed], flat, progress=progress)
        )
        dose_gy = influence.dose_gy(kept.fluence)
        status = "; ".join([kept.status, *(o.describe() for o in kept.outcomes)])
        goal = f"nothing: {coverage} is a constraint"
        return OptimizedDose(grid, dose_gy.astype(np.float32), 1.0, goal, status)
    result = optimize_fluence(problem, flat, progress=progress)
    dose_gy = influence.dose_gy(result.fluence)
    sampler = StructureSampler(regions.on_ct_grid[target], influence.grid)
    reached_gy = sampler.sample(dose_gy).dose_at_volume_percent(NORMALIZATION_PERCENT)
    if not reached_gy > 0:
        raise InputError(
            f"{coverage} is 0 Gy, which no factor makes {prescription_gy:g} Gy; give the target "
            "an objective that asks for dose"
        )
    scale = prescription_gy / reached_gy
    return OptimizedDose(
        grid,
        (dose_gy * np.float32(scale)).astype(np.float32),
        scale,
        f"{coverage} = {prescription_gy:g} Gy",
        result.status,
    )


def _keeping_to(result: ConstrainedResult) -> ConstrainedResult:
    """A result that keeps to its constraints; `InputError` naming those that it does not."""
    missed = [outcome.describe() for outcome in result.outcomes if not outcome.kept]
    if missed:
        raise InputError(
            f"constraints are not kept ({result.status}): {'; '.join(missed)}. Relax one of them "
            "or take it out"
        )
    return result


def write_dose(node: slicer.vtkMRMLScalarVolumeNode, optimized: OptimizedDose) -> None:
    """Put a dose into a volume node, where SlicerRT's engine computed it."""
    image = vtkImageData()
    fill_image(image, optimized.grid.orientation.restored(optimized.dose_gy))
    node.SetAndObserveTransformNodeID(None)
    node.SetIJKToRASMatrix(matrix_of(FLIP_XY @ optimized.grid.ijk_to_lps))
    node.SetAndObserveImageData(image)
    node.SetAttribute(DOSE_VOLUME, "1")
    node.SetAttribute(SCALE_FACTOR, f"{optimized.scale:.6g}")
    node.SetAttribute(NORMALIZED_TO, optimized.normalized_to)


def _ct_grid(plan: slicer.vtkMRMLRTPlanNode) -> Grid:
    volume = plan.GetReferenceVolumeNode()
    shape = volume.GetImageData().GetDimensions()[::-1]
    return DoseImageGrid(shape, ijk_to_lps(volume)).arranged()[0]


class _Regions:
    """Segments that objectives name, read once, by a name that is theirs alone."""

    def __init__(self, ct_grid: Grid, dose_grid: Grid) -> None:
        self.on_ct_grid: dict[str, Occupancy] = {}
        self.on_dose_grid: dict[str, Occupancy] = {}
        self._ct_grid, self._dose_grid = ct_grid, dose_grid
        self._names: dict[tuple[str, str], str] = {}

    def name(self, node: slicer.vtkMRMLSegmentationNode, segment_id: str) -> str:
        """The name of a segment among the regions; reads it the first time."""
        key = (node.GetID(), segment_id)
        if key not in self._names:
            segment = node.GetSegmentation().GetSegment(segment_id)
            name = segment.GetName() or segment_id
            if name in self.on_ct_grid:
                name = f"{name} ({segment_id})"
            occupancy, _, _ = read_segment(node, segment_id, self._ct_grid)
            if occupancy.is_empty:
                raise InputError(f"segment {name!r} is empty; draw it")
            self.on_ct_grid[name] = occupancy
            self.on_dose_grid[name] = occupancy.onto(self._dose_grid)
            self._names[key] = name
        return self._names[key]


def _row(
    node: slicer.vtkMRMLRTObjectiveNode, number: int, regions: _Regions
) -> Objective | Constraint | None:
    """What a row of the table asks for; None where a penalty is 0, which switches it off.

    The table's overlap priorities are not used: structures may overlap, and every row counts all
    voxels of its own.
    """
    function = node.GetName() or ""
    where = f"objective {number} ({function or 'no function'})"
    kind = function.removeprefix(CONSTRAINT) if function.startswith(CONSTRAINT) else None
    if kind not in CONSTRAINT_KINDS and function not in OBJECTIVE_FUNCTIONS:
        raise InputError(
            f"{where}: RadPlanAgent knows {', '.join(available_objectives())}; choose one of them"
        )
    if (node.GetAttribute("isConstraint") or "false") == "true" and kind is None:
        raise InputError(
            f"{where}: is an objective, not a constraint; constraints are the functions whose "
            f"names start with {CONSTRAINT}"
        )
    segmentation, segment_id = node.GetSegmentationNode(), node.GetSegmentID()
    if (
        segmentation is None
        or not segment_id
        or segmentation.GetSegmentation().GetSegment(segment_id) is None
    ):
        raise InputError(f"{where}: has no segment; choose one")
    penalty = _number(node, "penalty", where)
    if penalty == 0:
        return None
    parameters = {name: _number(node, name, where) for name in _parameters(function)}
    structure = regions.name(segmentation, segment_id)
    if kind is not None:
        return Constraint(structure, kind, **parameters)
    return Objective(
        structure, function, penalty, **parameters, id=f"{number}. {structure}/{function}"
    )


def _parameters(function: str) -> tuple[str, ...]:
    """What a function of the table takes, besides its penalty."""
    if function in OBJECTIVE_FUNCTIONS:
        return OBJECTIVE_FUNCTIONS[function].parameters
    return constraint_parameters(function.removeprefix(CONSTRAINT))


def _number(node: slicer.vtkMRMLRTObjectiveNode, name: str, where: str) -> float:
    """A number from an attribute, which SlicerRT keeps as the text that was typed."""
    text = (node.GetAttribute(name) or "").strip()
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{where}: {name} is {text!r}, expected a number") from None
