"""Influence matrices that SlicerRT's dose engines leave on beam nodes.

What a beam node holds, and what it does not (vtkMRMLRTBeamNode.h, .cxx):

* The matrix, float64 in compressed columns with 32-bit indices, as arrays that share its memory:
  they are made arrays of our own here, before anything else runs.
* Rows are voxels in C order of an image with the CT's axes (k, j, i), i fastest.
* The grid's size and spacing, where the engine set them, but never its origin. Where the grid is
  the CT's, the origin is the CT's. For the pyRadPlan engine it follows from the source of
  pyRadPlan (`Grid.resample`), and the size must come out the same. Otherwise it cannot be known,
  and the matrix is refused: half a dose voxel to one side is a wrong plan that looks right.
* The engine's own unit of dose. Optimizer and session scale the fluence to the prescription.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
from scipy import sparse
from vtkmodules.util.numpy_support import vtk_to_numpy

from ..beams import Beam
from ..errors import InputError
from ..geometry import Grid
from ..influence.compute import merge_columns
from ..influence.matrix import InfluenceMatrix
from ..influence.stored import content_fingerprint, unplaced_beamlets
from ..orientation import Orientation, orientation_of, to_lps
from .read_volume import ijk_to_lps
from .rt_plan import beam_nodes, read_plan

#: How engines of SlicerRT are named in our files.
ENGINE_PREFIX = "SlicerRT: "
#: SlicerRT's engine whose dose grid is known from its source.
PYRADPLAN = "pyRadPlan"
#: Image axes for which that engine turns the isocentre from RAS to LPS as it should.
PYRADPLAN_ORIENTATION = Orientation((0, 1, 2), (1, 1, 1))
#: Spacings that differ by less than this are the same.
SPACING_TOLERANCE = 1e-6


@dataclass(frozen=True)
class DoseImageGrid:
    """A dose grid as SlicerRT's engines see it.

    Parameters
    ----------
    shape : tuple of int
        Voxels along (k, j, i).
    ijk_to_lps : ndarray, (4, 4)
        From voxel indices (i, j, k) to LPS mm.
    """

    shape: tuple[int, int, int]
    ijk_to_lps: np.ndarray

    @property
    def orientation(self) -> Orientation:
        """How its axes lie."""
        columns = self.ijk_to_lps[:3, :3]
        return orientation_of(columns / np.linalg.norm(columns, axis=0))

    def arranged(self) -> tuple[Grid, np.ndarray]:
        """Our grid of the same voxels, and for each its row in the engine's order."""
        rows = np.arange(np.prod(self.shape, dtype=np.int64)).reshape(self.shape)
        grid, rows = to_lps(rows, self.ijk_to_lps, "dose grid")
        return grid, rows.ravel()


def influence_from_beams(
    plan: slicer.vtkMRMLRTPlanNode, bixel_width_mm: float = 5.0, machine: str = "Generic"
) -> InfluenceMatrix:
    """The matrices of all beams of a plan as one, on a grid in LPS.

    Raises
    ------
    InputError
        If a beam has no matrix or a damaged one, the beams' grids differ, or the place of the
        dose grid cannot be known.
    """
    rt_plan = read_plan(plan, bixel_width_mm, machine)
    nodes = beam_nodes(plan)
    image_grid = dose_image_grid(plan)
    grid, rows = image_grid.arranged()
    own_order = np.array_equal(rows, np.arange(rows.size))
    blocks = []
    for node in nodes:
        block = _matrix_of(node, rows.size)
        blocks.append(block if own_order else block[rows])
    engine = ENGINE_PREFIX + (plan.GetDoseEngineName() or "unknown engine")
    return _joined(blocks, grid, rt_plan.beams, engine)


def _joined(
    blocks: list[sparse.csr_array], grid: Grid, beams: tuple[Beam, ...], engine: str
) -> InfluenceMatrix:
    counts = np.array([block.shape[1] for block in blocks])
    matrix = merge_columns(blocks, 1.0, lambda fraction: None)
    key = content_fingerprint((matrix.data, matrix.indices, matrix.indptr), grid, beams, engine)
    return InfluenceMatrix(matrix, grid, beams, unplaced_beamlets(counts), engine, key)


def _matrix_of(node: slicer.vtkMRMLRTBeamNode, n_voxels: int) -> sparse.csr_array:
    """A beam's matrix by rows, float32, our own copy; `InputError` if it is not sound."""
    where = f"beam {node.GetName()!r}"
    shape = (node.GetDoseInfluenceMatrixRowCount(), node.GetDoseInfluenceMatrixColumnCount())
    if not node.GetDoseInfluenceMatrixNumberOfNonZeroElements():
        raise InputError(
            f"{where} has no influence matrix; let a dose engine compute it (SlicerRT does not "
            "save matrices with a scene)"
        )
    if shape[0] != n_voxels:
        raise InputError(
            f"{where}: the influence matrix has {shape[0]} rows, but the dose grid has {n_voxels} "
            "voxels; compute it again"
        )
    fields = node.GetDoseInfluenceMatrixFieldData()
    data, indices, starts = (
        vtk_to_numpy(fields.GetArray(name)) for name in ("Data", "Indices", "Indptr")
    )
    if (
        starts.size != shape[1] + 1
        or starts[0] != 0
        or starts[-1] != data.size
        or data.size != indices.size
        or (np.diff(starts) < 0).any()
        or (indices < 0).any()
        or (indices >= n_voxels).any()
    ):
        raise InputError(f"{where}: the influence matrix is damaged; compute it again")
    if not np.isfinite(data).all() or (data < 0).any():
        raise InputError(
            f"{where}: the influence matrix has doses that are negative or not numbers; compute "
            "it again"
        )
    by_columns = sparse.csc_array((data.astype(np.float32), indices, starts), shape=shape)
    return by_columns.tocsr()  # new arrays, all three


def dose_image_grid(plan: slicer.vtkMRMLRTPlanNode) -> DoseImageGrid:
    """Where the rows of the beams' matrices lie.

    Raises
    ------
    InputError
        If that cannot be known, differs between beams, or the CT has a transform (SlicerRT's
        engines do not see it) or is oblique.
    """
    volume = plan.GetReferenceVolumeNode()
    if volume is None or volume.GetImageData() is None:
        raise InputError(f"plan {plan.GetName()!r} has no reference volume; choose the CT")
    where = f"volume {volume.GetName()!r}"
    if volume.GetParentTransformNode() is not None:
        raise InputError(
            f"{where} is under a transform, which SlicerRT's dose engines do not see; harden it "
            "first (Data module, Harden transform)"
        )
    ct_to_lps = ijk_to_lps(volume)
    ct_spacing = np.linalg.norm(ct_to_lps[:3, :3], axis=0)
    orientation = orientation_of(ct_to_lps[:3, :3] / ct_spacing)
    if orientation is None:
        raise InputError(f"{where} is oblique; resample it to an axis-aligned grid")
    if plan.GetDoseEngineName() == PYRADPLAN and orientation != PYRADPLAN_ORIENTATION:
        raise InputError(
            f"{where}: SlicerRT's pyRadPlan engine misplaces the isocentre where the CT's axes do "
            "not run to left, posterior and superior; resample the CT, or use the built-in engine"
        )
    ct_dim = np.array(volume.GetImageData().GetDimensions())
    dim, spacing = _one_grid_of(plan)
    if dim is None:
        return DoseImageGrid(tuple(int(n) for n in ct_dim[::-1]), ct_to_lps)
    if np.array_equal(dim, ct_dim) and np.allclose(spacing, ct_spacing, rtol=SPACING_TOLERANCE):
        shift = np.zeros(3)
    elif plan.GetDoseEngineName() == PYRADPLAN:
        shift = pyradplan_shift_mm(ct_dim, ct_spacing, dim, spacing)
    else:
        raise InputError(
            f"plan {plan.GetName()!r}: SlicerRT does not say where the dose grid of "
            f"{plan.GetDoseEngineName()} lies ({' x '.join(map(str, dim))} voxels); set the dose "
            "grid spacing to the CT's"
        )
    matrix = ct_to_lps.copy()
    directions = ct_to_lps[:3, :3] / ct_spacing
    matrix[:3, :3] = directions * spacing
    matrix[:3, 3] -= directions @ shift
    return DoseImageGrid(tuple(int(n) for n in dim[::-1]), matrix)


def pyradplan_shift_mm(
    ct_dim: np.ndarray, ct_spacing_mm: np.ndarray, dim: np.ndarray, spacing_mm: np.ndarray
) -> np.ndarray:
    """How far pyRadPlan's dose grid starts before the CT, along the CT's axes (i, j, k), mm.

    As `Grid.resample` of pyRadPlan 0.3.1 … 0.5.0 has it: the number of voxels is rounded up, and
    the origin moves by half of what the grid is then longer than the CT.

    Raises
    ------
    InputError
        If the size is not the one that follows from the spacing.
    """
    expected = np.ceil(ct_dim * ct_spacing_mm / spacing_mm).astype(int)
    if not np.array_equal(expected, dim):
        raise InputError(
            f"the dose grid of {' x '.join(map(str, dim))} voxels is not the one that pyRadPlan "
            f"makes of this CT ({' x '.join(map(str, expected))}); compute the matrix again"
        )
    return (dim * spacing_mm - ct_dim * ct_spacing_mm) / 2


def _one_grid_of(
    plan: slicer.vtkMRMLRTPlanNode,
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Size (i, j, k) and spacing that all beams name; None where they name none."""
    named = {
        (tuple(node.GetDoseGridDim()), tuple(node.GetDoseGridSpacing()))
        for node in beam_nodes(plan)
    }
    if not named:
        raise InputError(f"plan {plan.GetName()!r} has no beams")
    if len(named) > 1:
        raise InputError(
            f"plan {plan.GetName()!r}: the influence matrices of its beams are on different dose "
            "grids; compute them again"
        )
    dim, spacing = named.pop()
    if min(dim) < 1 or min(spacing) <= 0:
        return None, None
    return np.array(dim), np.array(spacing, float)
