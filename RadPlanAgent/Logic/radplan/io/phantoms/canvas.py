"""Turn solids into a CT and structures: partial volumes, tissues painted in order, noise."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from ...case import Case, Structure, StructureType
from ...geometry import Grid, Occupancy
from .shapes import Shape, values_on

AIR_HU = -1000.0
#: Points per voxel edge at which voxels cut by a surface are sampled.
SUBSAMPLES = 3
_CHUNK = 40_000


def rasterize(shape: Shape, grid: Grid) -> Occupancy:
    """Fraction of every voxel that a solid fills.

    Voxels away from the surface are decided at their centre. Those that it may cut are divided
    into ``SUBSAMPLES``³ parts, and in each part the surface is taken as a plane at the signed
    distance of the part's centre.
    """
    start, stop = [], []
    for axis in range(3):
        edges = grid.edges_mm(axis)
        low, high = shape.low_mm[2 - axis], shape.high_mm[2 - axis]
        first = int(np.clip(np.searchsorted(edges, low) - 1, 0, grid.shape[axis]))
        start.append(first)
        stop.append(int(np.clip(np.searchsorted(edges, high) + 1, first, grid.shape[axis])))
    if min(b - a for a, b in zip(start, stop, strict=True)) <= 0:
        return Occupancy(grid, (0, 0, 0), np.zeros((0, 0, 0), np.float32))
    box = grid.cropped(tuple(start), tuple(stop))
    centers = values_on(shape, box)
    filled = (centers < 0).astype(np.float32)
    # Half the diagonal is needed; the rest allows for an inexact distance.
    cut = np.argwhere(np.abs(centers) < 0.65 * np.linalg.norm(grid.spacing_mm))
    spacing = np.array(grid.spacing_mm[::-1])
    ticks = (np.arange(SUBSAMPLES) + 0.5) / SUBSAMPLES - 0.5
    offsets = np.stack(np.meshgrid(ticks, ticks, ticks, indexing="ij"), axis=-1)
    offsets = offsets.reshape(-1, 3) * spacing
    width = float(np.prod(spacing)) ** (1 / 3) / SUBSAMPLES
    origin = np.array(box.origin_mm[::-1])
    for begin in range(0, len(cut), _CHUNK):
        index = cut[begin : begin + _CHUNK]
        points = (origin + index * spacing)[:, None, :] + offsets[None]
        depth = shape.distance(points[..., 2], points[..., 1], points[..., 0])
        filled[tuple(index.T)] = np.clip(0.5 - depth / width, 0, 1).mean(axis=1)
    local = Occupancy.from_array(box, filled)
    offset = tuple(a + b for a, b in zip(start, local.start, strict=True))
    return Occupancy(grid, offset if not local.is_empty else (0, 0, 0), local.values)


def mirrored(occupancy: Occupancy) -> Occupancy:
    """Mirror image, left for right, of a region on a grid that is centred on x = 0."""
    grid = occupancy.grid
    if abs(grid.center_mm[0]) > 1e-6:
        raise ValueError("only a grid centred on x = 0 can be mirrored")
    start = (*occupancy.start[:2], grid.shape[2] - occupancy.stop[2])
    return Occupancy(grid, start, np.ascontiguousarray(occupancy.values[:, :, ::-1]))


@dataclass
class Canvas:
    """A CT being painted, and the structures drawn on it.

    Parameters
    ----------
    grid : Grid
        The CT grid.
    body : Shape
        Outline of the patient: nothing painted reaches beyond it.
    """

    grid: Grid
    body: Shape
    hu: np.ndarray = field(init=False)
    body_occupancy: Occupancy = field(init=False)
    structures: list[Structure] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start with the body in air."""
        self.hu = np.full(self.grid.shape, AIR_HU, np.float32)
        self.body_occupancy = rasterize(self.body, self.grid)
        self._inside = self.body_occupancy.array()

    def paint(self, shape: Shape, hu: float) -> None:
        """Fill a solid with a tissue, over whatever is there, in the share of each voxel."""
        self.paint_occupancy(rasterize(shape, self.grid), hu)

    def paint_pair(self, left: Shape, hu: float) -> None:
        """Fill a solid and its mirror image; the grid must be centred on x = 0."""
        occupancy = rasterize(left, self.grid)
        self.paint_occupancy(occupancy, hu)
        self.paint_occupancy(mirrored(occupancy), hu)

    def paint_occupancy(self, occupancy: Occupancy, hu: float) -> None:
        """Fill a region with a tissue; where the body fills a voxel in part, air stays."""
        if occupancy.is_empty:
            return
        box = tuple(slice(a, b) for a, b in zip(occupancy.start, occupancy.stop, strict=True))
        inside = self._inside[box]
        share = np.minimum(occupancy.values, inside)
        here = self.hu[box]
        # The tissue replaces its share of the body's part of the voxel, not of the air's.
        tissue = (here - (1 - inside) * AIR_HU) / np.maximum(inside, 1e-6)
        part = share / np.maximum(inside, 1e-6)
        mixed = tissue * (1 - part) + hu * part
        self.hu[box] = np.where(inside > 0, inside * mixed + (1 - inside) * AIR_HU, here)

    def paint_bone(
        self,
        shape: Shape,
        cortex_mm: float = 2.2,
        inner_hu: float = 210.0,
        outer_hu: float = 1000.0,
        paired: bool = False,
    ) -> None:
        """Paint a bone, or a left bone and its mirror image: cortex around spongy bone."""
        paint = self.paint_pair if paired else self.paint
        paint(shape, outer_hu)
        paint(shape.grown(-cortex_mm), inner_hu)

    def draw_body(self, color: tuple[int, int, int]) -> None:
        """Add the outline of the patient as the EXTERNAL structure."""
        self.structures.append(
            Structure("External", StructureType.EXTERNAL, self.body_occupancy, "External", color)
        )

    def draw(
        self, name: str, kind: StructureType, color: tuple[int, int, int], *parts: Shape
    ) -> None:
        """Add a structure: what the parts fill of the body."""
        filled = np.zeros(self.grid.shape, np.float32)
        for part in parts:
            occupancy = rasterize(part, self.grid)
            box = tuple(slice(a, b) for a, b in zip(occupancy.start, occupancy.stop, strict=True))
            np.maximum(filled[box], occupancy.values, out=filled[box])
        np.minimum(filled, self._inside, out=filled)
        occupancy = Occupancy.from_array(self.grid, filled)
        # Cases are shared by all who ask for them in one process.
        occupancy.values.setflags(write=False)
        self.structures.append(Structure(name, kind, occupancy, name, color))

    def finished(self, name: str, source: str, seed: int, noise_hu: float = 9.0) -> Case:
        """Add the grain of a scanner's reconstruction and return the case.

        Noise is white noise smoothed in the slice plane (standard deviation `noise_hu` in the
        body, a third of it in air), plus a slower unevenness of tissue of half that size.
        """
        rng = np.random.default_rng(seed)
        shape = self.grid.shape
        grain = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), (0, 1, 1))
        tissue = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), 2.0)
        inside = self._inside
        grain *= noise_hu / grain.std() * (1 / 3 + 2 / 3 * inside)
        tissue *= 0.5 * noise_hu / tissue.std() * inside
        # Bone is grainier than soft tissue because trabeculae are unresolved.
        spongy = np.clip((self.hu - 120.0) / 300.0, 0.0, 3.0)
        hu = np.clip(self.hu + (grain + tissue) * (1 + 2 * spongy), -1024, 3071)
        hu = np.rint(hu).astype(np.float32)
        hu.setflags(write=False)
        return Case(name, self.grid, hu, tuple(self.structures), source=source)
