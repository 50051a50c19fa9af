"""How much a fluence differs from one beamlet to the next, for apertures that can follow it."""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree

from ..errors import InputError
from ..influence.matrix import Beamlets

#: Beamlets are neighbours up to this many beamlet widths; diagonal ones are √2 apart.
NEIGHBOUR_WIDTHS = 1.2


class FluenceRoughness:
    """Mean squared difference of neighbouring beamlets of the same beam.

    In the unit of the fluence, squared. Beamlets at the rim of a beam have no neighbour outside:
    a beam of constant fluence costs nothing, whatever its outline.

    Parameters
    ----------
    beamlets : Beamlets
        The width of a beam's beamlets is taken from their positions.

    Raises
    ------
    InputError
        If two beamlets of a beam are in one place, none has a neighbour, or it is not known where
        they are.
    """

    def __init__(self, beamlets: Beamlets) -> None:
        if not (np.isfinite(beamlets.x_mm).all() and np.isfinite(beamlets.z_mm).all()):
            raise InputError("fluence roughness: the dose engine does not say where beamlets are")
        pairs = [np.zeros((0, 2), np.int64)]
        for beam in np.unique(beamlets.beam):
            columns = np.flatnonzero(beamlets.beam == beam)
            if columns.size > 1:
                positions = np.stack([beamlets.x_mm[columns], beamlets.z_mm[columns]], axis=1)
                pairs.append(columns[_neighbours(positions.astype(np.float64), int(beam))])
        self.pairs = np.concatenate(pairs)
        if not self.pairs.size:
            raise InputError("fluence roughness: no beamlet has a neighbour in its beam")

    def value_and_gradient(self, fluence: np.ndarray) -> tuple[float, np.ndarray]:
        """Σ (x_i − x_k)² / pairs and its gradient, float64 (n_beamlets,)."""
        first, second = self.pairs.T
        difference = fluence[first] - fluence[second]
        slope = 2 * difference / difference.size
        gradient = np.bincount(first, slope, fluence.size)
        gradient -= np.bincount(second, slope, fluence.size)
        return float(difference @ difference) / difference.size, gradient


def _neighbours(positions_mm: np.ndarray, beam: int) -> np.ndarray:
    """Pairs of neighbouring positions, int64 (pairs, 2), in an order of their own."""
    tree = KDTree(positions_mm)
    distance, _ = tree.query(positions_mm, k=2)
    width = distance[:, 1].min()
    if width <= 0:
        raise InputError(f"fluence roughness: two beamlets of beam {beam} are in one place")
    pairs = tree.query_pairs(NEIGHBOUR_WIDTHS * width, output_type="ndarray")
    return pairs[np.lexsort(pairs.T[::-1])]
