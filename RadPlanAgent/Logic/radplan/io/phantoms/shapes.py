"""Smooth solids described by the signed distance to their surface.

A `Shape` answers, for any points in patient space, roughly how far (mm) they lie outside (+) or
inside (-) its surface. Only the sign has to be exact; the distance is exact to first order at the
surface, which is what partial volumes need. Frame: LPS mm, as everywhere in ``radplan``.

The formulas are those in common use for implicit surfaces: the value of the defining function
divided by the length of its gradient (Taubin 1994, "Distance approximations for rasterizing
implicit curves"), and the polynomial smooth minimum for blends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from scipy import ndimage
from scipy.interpolate import CubicSpline, PchipInterpolator
from scipy.spatial import cKDTree

from ...geometry import Grid, Triple

#: Signed distance (mm) at points given as x, y, z arrays that broadcast against each other.
Distance = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
UNBOUNDED = 1.0e4
#: Tubes do not measure distances beyond this, to save time.
_FAR_MM = 25.0
_STRIDE = 3


@dataclass(frozen=True)
class Shape:
    """A solid: the signed distance to its surface, and a box that holds it.

    Parameters
    ----------
    distance : callable
        ``distance(x, y, z)`` in mm, negative inside.
    low_mm, high_mm : tuple of float
        Corners (x, y, z) of a box outside which there is nothing of the solid.
    """

    distance: Distance
    low_mm: Triple
    high_mm: Triple

    def __or__(self, other: Shape) -> Shape:
        """Return the union."""
        return self.blended(other, 0.0)

    def __and__(self, other: Shape) -> Shape:
        """Return the part that both fill."""
        low = tuple(np.maximum(self.low_mm, other.low_mm))
        high = tuple(np.maximum(np.minimum(self.high_mm, other.high_mm), low))
        return Shape(
            lambda x, y, z: np.maximum(self.distance(x, y, z), other.distance(x, y, z)), low, high
        )

    def __sub__(self, other: Shape) -> Shape:
        """Return what is left when the other is cut away."""
        return replace(
            self,
            distance=lambda x, y, z: np.maximum(self.distance(x, y, z), -other.distance(x, y, z)),
        )

    def blended(self, other: Shape, radius_mm: float) -> Shape:
        """Return the union with its crease filled by a fillet of about that radius."""

        def distance(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
            a, b = self.distance(x, y, z), other.distance(x, y, z)
            if radius_mm <= 0:
                return np.minimum(a, b)
            near = np.maximum(1.0 - np.abs(a - b) / radius_mm, 0.0)
            return np.minimum(a, b) - 0.25 * radius_mm * near**2

        pad = 0.25 * radius_mm
        return Shape(
            distance,
            tuple(np.minimum(self.low_mm, other.low_mm) - pad),
            tuple(np.maximum(self.high_mm, other.high_mm) + pad),
        )

    def grown(self, by_mm: float) -> Shape:
        """Return the solid with its surface moved outwards (inwards when negative).

        For margins that must be right to a fraction of a millimetre use `with_margin`.
        """
        return Shape(
            lambda x, y, z: self.distance(x, y, z) - by_mm,
            tuple(np.subtract(self.low_mm, 1.5 * max(by_mm, 0.0))),
            tuple(np.add(self.high_mm, 1.5 * max(by_mm, 0.0))),
        )

    def lining(self, thickness_mm: float) -> Shape:
        """Return the layer of that thickness just inside the surface."""
        half = 0.5 * thickness_mm
        return replace(self, distance=lambda x, y, z: np.abs(self.distance(x, y, z) + half) - half)

    def moved(self, by_mm: Triple) -> Shape:
        """Return the solid shifted by (x, y, z)."""
        return Shape(
            lambda x, y, z: self.distance(x - by_mm[0], y - by_mm[1], z - by_mm[2]),
            tuple(np.add(self.low_mm, by_mm)),
            tuple(np.add(self.high_mm, by_mm)),
        )

    def mirrored(self) -> Shape:
        """Return the mirror image, left for right."""
        return Shape(
            lambda x, y, z: self.distance(-x, y, z),
            (-self.high_mm[0], *self.low_mm[1:]),
            (-self.low_mm[0], *self.high_mm[1:]),
        )

    def uneven(self, amplitude_mm: float, wavelength_mm: float, seed: int) -> Shape:
        """Return the solid with gentle bumps of about that height and width, fixed by the seed."""
        rng = np.random.default_rng(seed)
        directions = rng.normal(size=(4, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        waves = directions * (2 * np.pi / (wavelength_mm * rng.uniform(0.8, 1.3, (4, 1))))
        phases = rng.uniform(0, 2 * np.pi, 4)

        def distance(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
            bumps = sum(
                np.sin(w[0] * x + w[1] * y + w[2] * z + phase)
                for w, phase in zip(waves, phases, strict=True)
            )
            return self.distance(x, y, z) + 0.5 * amplitude_mm * bumps

        return Shape(
            distance,
            tuple(np.subtract(self.low_mm, 2.5 * amplitude_mm)),
            tuple(np.add(self.high_mm, 2.5 * amplitude_mm)),
        )

    def tabulated(
        self, step_mm: float, low_mm: Triple | None = None, high_mm: Triple | None = None
    ) -> Shape:
        """Return the same solid with its distance read from a table, which is faster.

        Right where curvature radii are large against `step_mm`. The table covers the solid's box
        or the given one, and repeats its outermost values beyond.
        """
        low = np.subtract(self.low_mm if low_mm is None else low_mm, 2 * step_mm)
        high = np.add(self.high_mm if high_mm is None else high_mm, 2 * step_mm)
        shape = np.ceil((high - low) / step_mm).astype(int)[::-1] + 1
        grid = Grid(tuple(shape), (step_mm,) * 3, tuple(low))
        return sampled(values_on(self, grid).astype(np.float32), grid)

    def between(self, low_z_mm: float, high_z_mm: float) -> Shape:
        """Return the slab of the solid between two transverse planes."""
        return Shape(
            lambda x, y, z: np.maximum(
                self.distance(x, y, z), np.maximum(low_z_mm - z, z - high_z_mm)
            ),
            (*self.low_mm[:2], max(self.low_mm[2], low_z_mm)),
            (*self.high_mm[:2], min(self.high_mm[2], high_z_mm)),
        )


def union(shapes: Sequence[Shape], blend_mm: float = 0.0) -> Shape:
    """Union of several solids, creases filled by fillets of about `blend_mm`."""
    return reduce(lambda a, b: a.blended(b, blend_mm), shapes)


def ellipsoid(
    center_mm: Triple,
    radii_mm: Triple,
    exponent: float = 2.0,
    pitch_deg: float = 0.0,
    yaw_deg: float = 0.0,
    roll_deg: float = 0.0,
) -> Shape:
    """Superellipsoid |x/a|ⁿ + |y/b|ⁿ + |z/c|ⁿ = 1.

    Parameters
    ----------
    center_mm, radii_mm : tuple of float
        (x, y, z).
    exponent : float
        n: 2 is an ellipsoid, larger is boxier.
    pitch_deg, roll_deg, yaw_deg : float
        Turns about the x, y and z axis through the centre: the solid's own axes are turned in
        this order, right-handed in LPS.
    """
    radii = np.asarray(radii_mm, dtype=float)
    turn = _rotation(pitch_deg, roll_deg, yaw_deg)

    def distance(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        dx, dy, dz = x - center_mm[0], y - center_mm[1], z - center_mm[2]
        local = [turn[0, i] * dx + turn[1, i] * dy + turn[2, i] * dz for i in range(3)]
        powers, slopes = 0.0, 0.0
        for value, radius in zip(local, radii, strict=True):
            ratio = np.abs(value) / radius
            powers = powers + ratio**exponent
            slopes = slopes + (ratio ** (exponent - 1) / radius) ** 2
        gauge = np.maximum(powers, 1e-9) ** (1 / exponent)
        gradient = gauge ** (1 - exponent) * np.sqrt(slopes)
        return (gauge - 1) / np.maximum(gradient, 0.5 / radii.max())

    reach = np.abs(turn) @ radii
    return Shape(distance, tuple(center_mm - reach), tuple(center_mm + reach))


def _rotation(pitch_deg: float, roll_deg: float, yaw_deg: float) -> np.ndarray:
    """Columns are the turned x, y and z axes."""
    a, b, c = np.deg2rad([pitch_deg, roll_deg, yaw_deg])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def tube(
    points_mm: Sequence[Triple],
    radii_mm: float | Sequence[float] | Sequence[tuple[float, float]],
    side: Triple | Sequence[Triple] = (1.0, 0.0, 0.0),
    step_mm: float = 1.5,
) -> Shape:
    """Sweep a circle or ellipse along a smooth curve; the ends are rounded.

    Parameters
    ----------
    points_mm : sequence of (x, y, z)
        The curve passes through these (cubic spline over chord length).
    radii_mm : float, or one number or pair per point
        Radius, or the two half-axes: along `side`, and across it.
    side : (x, y, z), or one per point
        Direction of the first half-axis, made perpendicular to the curve; must not run along it.
    """
    points = np.asarray(points_mm, dtype=float)
    radii = np.asarray(radii_mm, dtype=float)
    radii = np.broadcast_to(radii if radii.ndim == 2 else radii.reshape(-1, 1), (len(points), 2))
    sides = np.broadcast_to(np.asarray(side, dtype=float), points.shape)
    chord = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    curve = CubicSpline(chord, points) if len(points) > 2 else PchipInterpolator(chord, points)
    along = np.linspace(0, chord[-1], max(2, int(np.ceil(chord[-1] / step_mm)) + 1))
    centers, half_axes = curve(along), PchipInterpolator(chord, radii)(along)
    tangents = curve(along, 1)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    first = PchipInterpolator(chord, sides)(along)
    first = first - np.sum(first * tangents, axis=1, keepdims=True) * tangents
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(tangents, first)
    tree = cKDTree(centers)
    reach = half_axes.max()

    def distance(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        shape = np.broadcast_shapes(np.shape(x), np.shape(y), np.shape(z))
        where = np.stack([np.broadcast_to(c, shape).ravel() for c in (x, y, z)], axis=1)
        apart, nearest = tree.query(where, distance_upper_bound=reach + _FAR_MM)
        near = np.isfinite(apart)
        result = np.full(len(where), _FAR_MM)
        where, nearest = where[near], nearest[near]
        offset = where - centers[nearest]
        a, b = half_axes[nearest].T
        cap = np.minimum(a, b)
        u = np.einsum("ij,ij->i", offset, first[nearest])
        v = np.einsum("ij,ij->i", offset, second[nearest])
        t = np.einsum("ij,ij->i", offset, tangents[nearest])
        gauge = np.sqrt((u / a) ** 2 + (v / b) ** 2 + (t / cap) ** 2)
        slope = np.sqrt((u / a**2) ** 2 + (v / b**2) ** 2 + (t / cap**2) ** 2)
        slope /= np.maximum(gauge, 1e-6)
        slope = np.maximum(slope, 0.5 / np.maximum(a, b))
        result[near] = (gauge - 1) / slope
        return result.reshape(shape)

    return Shape(
        distance,
        tuple((centers - half_axes.max(axis=1, keepdims=True)).min(axis=0)),
        tuple((centers + half_axes.max(axis=1, keepdims=True)).max(axis=0)),
    )


def loft(rows: Sequence[tuple[float, ...]]) -> Shape:
    """Stack of superelliptical outlines, interpolated along z; unbounded above and below.

    Parameters
    ----------
    rows : sequence of (z, x centre, y centre, half-width, anterior, posterior, exponent)
        mm, in rising z. The outline reaches `half-width` to both sides, `anterior` towards -y and
        `posterior` towards +y of its centre; the last row and the first are carried on.
    """
    table = np.asarray(rows, dtype=float)
    z_range = table[0, 0], table[-1, 0]
    section = PchipInterpolator(table[:, 0], table[:, 1:])

    def distance(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        cx, cy, half, front, back, power = np.moveaxis(section(np.clip(z, *z_range)), -1, 0)
        dx, dy = np.abs(x - cx), y - cy
        depth = np.where(dy < 0, front, back)
        u, v = dx / half, np.abs(dy) / depth
        gauge = np.maximum(u**power + v**power, 1e-9) ** (1 / power)
        slope = gauge ** (1 - power) * np.hypot(u ** (power - 1) / half, v ** (power - 1) / depth)
        return (gauge - 1) / np.maximum(slope, 0.5 / np.maximum(half, depth))

    half = table[:, 3].max()
    return Shape(
        distance,
        (table[:, 1].min() - half, (table[:, 2] - table[:, 4]).min(), -UNBOUNDED),
        (table[:, 1].max() + half, (table[:, 2] + table[:, 5]).max(), UNBOUNDED),
    )


def half_space(point_mm: Triple, outward: Triple) -> Shape:
    """All that lies behind the plane through a point with the given outward normal."""
    normal = np.asarray(outward, dtype=float) / np.linalg.norm(outward)
    return Shape(
        lambda x, y, z: (
            normal[0] * (x - point_mm[0])
            + normal[1] * (y - point_mm[1])
            + normal[2] * (z - point_mm[2])
        ),
        (-UNBOUNDED,) * 3,
        (UNBOUNDED,) * 3,
    )


@dataclass(frozen=True)
class Margin:
    """How far a target is expanded in each direction, mm."""

    left: float
    right: float
    anterior: float
    posterior: float
    superior: float
    inferior: float

    @classmethod
    def of(cls, mm: float, posterior: float | None = None) -> Margin:
        """Return the same margin everywhere, except posteriorly where one is given."""
        return cls(mm, mm, mm, mm if posterior is None else posterior, mm, mm)


def with_margin(shape: Shape, margin: Margin, step_mm: float = 1.25) -> Shape:
    """Expand a solid by a three-dimensional margin.

    Every point of the solid is replaced by an ellipsoid that reaches the six margins (Minkowski
    sum); equal margins give the set of points no further than the margin away. Computed from a
    Euclidean distance transform on a grid of `step_mm`, so it is right also where `shape`'s own
    distance is only roughly so; too small by about an eighth of the step.
    """
    radii = 0.5 * np.array(
        [
            margin.left + margin.right,
            margin.posterior + margin.anterior,
            margin.superior + margin.inferior,
        ]
    )
    shift = 0.5 * np.array(
        [
            margin.left - margin.right,
            margin.posterior - margin.anterior,
            margin.superior - margin.inferior,
        ]
    )
    low, high = np.subtract(shape.low_mm, 3 * step_mm), np.add(shape.high_mm, 3 * step_mm)
    low, high = low - radii - np.abs(shift), high + radii + np.abs(shift)
    grid = Grid(tuple(np.ceil((high - low) / step_mm).astype(int)[::-1] + 1), (step_mm,) * 3, low)
    values = values_on(shape, grid)
    # In coordinates divided by the radii the ellipsoid is the unit ball.
    gauge, nearest = ndimage.distance_transform_edt(
        values >= 0, sampling=step_mm / radii[::-1], return_indices=True
    )
    # The surface is nearer than the nearest filled voxel's centre by that centre's depth, taken
    # along the way to it.
    depth = np.clip(-values[tuple(nearest)], 0.0, step_mm)
    nearest -= np.indices(grid.shape, dtype=nearest.dtype)
    way_mm = step_mm * np.sqrt(np.square(nearest, dtype=np.float32).sum(axis=0))
    gauge *= 1.0 - depth / np.maximum(way_mm, step_mm)
    field = ndimage.gaussian_filter((gauge - 1.0) * radii.min(), 0.7).astype(np.float32)
    return sampled(field, grid).moved(tuple(shift))


def values_on(shape: Shape, grid: Grid) -> np.ndarray:
    """Signed distance at every voxel centre of a grid, float64, (z, y, x).

    Asked of the solid itself near its surface; further away interpolated between every third
    voxel, which is enough to know the side and saves most of the time.
    """
    axes = grid.axes_mm
    coarse = [np.append(axis[:-1:_STRIDE], axis[-1]) for axis in axes]
    z, y, x = coarse
    values = shape.distance(x[None, None, :], y[None, :, None], z[:, None, None])
    values = np.broadcast_to(values, tuple(len(axis) for axis in coarse))
    for number, (few, all_) in enumerate(zip(coarse, axes, strict=True)):
        where = np.interp(all_, few, np.arange(len(few)))
        low = np.minimum(where.astype(int), max(len(few) - 2, 0))
        share = (where - low).reshape([-1 if n == number else 1 for n in range(3)])
        high = np.minimum(low + 1, len(few) - 1)
        values = values.take(low, number) * (1 - share) + values.take(high, number) * share
    near = np.nonzero(np.abs(values) < 0.65 * _STRIDE * np.linalg.norm(grid.spacing_mm))
    z, y, x = (axis[index] for axis, index in zip(axes, near, strict=True))
    values[near] = shape.distance(x, y, z)
    return values


def sampled(field_mm: np.ndarray, grid: Grid) -> Shape:
    """Shape of a signed distance known on a grid, interpolated linearly."""

    def distance(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        shape = np.broadcast_shapes(np.shape(x), np.shape(y), np.shape(z))
        index = [
            np.broadcast_to((c - o) / s, shape)
            for c, o, s in zip((z, y, x), grid.origin_mm[::-1], grid.spacing_mm[::-1], strict=True)
        ]
        return ndimage.map_coordinates(field_mm, index, order=1, mode="nearest")

    far = [grid.edges_mm(axis) for axis in (2, 1, 0)]
    return Shape(distance, tuple(e[0] for e in far), tuple(e[-1] for e in far))
