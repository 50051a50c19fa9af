"""Pictures of a plan's dose for a model that can see, made so that they say nothing of the person.

All text on them is structure tokens, doses and titles made here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..case import Case, DoseImage, StructureType
from ..errors import InputError
from ..geometry import Triple
from ..protocol import Protocol
from .spatial import CONFORMITY_PERCENT, SpatialFacts
from .tokens import StructureTokens

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Pixels per inch, the first that makes a file of less than `MOST_BYTES`; pictures are about 1000
#: pixels wide at the first. Vision models take no more in at full detail.
DPI = (115, 95, 80, 65)
MOST_BYTES = 400_000
#: An isodose that reaches no further than this beyond its target needs no picture, mm.
LEAST_REACH_MM = 8.0
#: Isodoses, % of the highest prescription; one gives way to those that lower prescriptions need.
ISODOSE_PERCENT = (110.0, 107.0, 100.0, 95.0, 80.0, 50.0, 30.0)
REPLACED_PERCENT = 80.0
#: Slices nearer than this to one that is shown already are left out, mm.
SAME_SLICE_MM = 4.0

#: Which of x, y and z a view looks along.
_NORMAL = {"sagittal": 0, "coronal": 1, "axial": 2}


@dataclass(frozen=True)
class Picture:
    """A picture: what it shows, and its PNG file."""

    title: str
    png: bytes


@dataclass(frozen=True)
class _Cut:
    """A slice: the view, a point on it, why it is shown, and the spots to mark on it."""

    view: str
    point_mm: Triple
    what: tuple[str, ...]
    marks_mm: tuple[Triple, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.view.capitalize()} through {' and '.join(self.what)}"

    def joined(self, other: _Cut) -> _Cut:
        """One slice for both, through the first spot of the two."""
        axis = _NORMAL[self.view]
        point = list(self.point_mm)
        if not self.marks_mm:
            point[axis] = other.point_mm[axis]
        marks = (*self.marks_mm, *other.marks_mm)
        return _Cut(self.view, tuple(point), (*self.what, *other.what), marks)

    @property
    def position_mm(self) -> float:
        """Where the slice is, along its normal."""
        return self.point_mm[_NORMAL[self.view]]


def dose_pictures(
    case: Case,
    dose: DoseImage,
    protocol: Protocol,
    facts: SpatialFacts,
    tokens: StructureTokens,
) -> tuple[Picture, ...]:
    """The dose on three slices through the highest target and on axial ones through worst spots.

    Parameters
    ----------
    case : Case
    dose : DoseImage
    protocol : Protocol
        In the case's names.
    facts : SpatialFacts
        Of this dose: where the worst spots are.
    tokens : StructureTokens
    """
    from ..figures import dose_plane_figure  # needs matplotlib

    highest_first = sorted(protocol.prescriptions, key=lambda p: -p.dose_gy)
    targets = [p.target for p in highest_first if p.target in case.names]
    organs = [s.name for s in case.of_type(StructureType.OAR) if s.name not in targets]
    labels = {name: tokens.token(name) for name in (*targets, *organs)}
    levels, notes = _levels(protocol, tokens)
    pictures = []
    for cut in _joined(_cuts(case, facts, tokens)):
        try:
            figure = dose_plane_figure(
                case,
                dose,
                view=cut.view,
                point_mm=cut.point_mm,
                prescription_gy=facts.prescription_gy,
                title=cut.title,
                labels=labels,
                isodose_percent=levels,
                notes=notes,
                marks_mm=cut.marks_mm,
            )
        except InputError:
            if not pictures:
                raise
            continue  # a spot of the dose beyond the CT
        pictures.append(Picture(cut.title, _small_png(figure)))
    return tuple(pictures)


def _joined(cuts: Iterable[_Cut]) -> list[_Cut]:
    """The slices, one for all that is nearer than `SAME_SLICE_MM`."""
    found: list[_Cut] = []
    for cut in cuts:
        for place, other in enumerate(found):
            near = abs(other.position_mm - cut.position_mm) < SAME_SLICE_MM
            if other.view == cut.view and near:
                found[place] = other.joined(cut)
                break
        else:
            found.append(cut)
    return found


def _levels(protocol: Protocol, tokens: StructureTokens) -> tuple[list[float], list[str]]:
    """Isodoses, % of the highest prescription, with the 95 % of lower ones in place of 80 %.

    And what to say of those.
    """
    highest_gy = protocol.highest.dose_gy
    lower = [p for p in protocol.prescriptions if p.dose_gy < highest_gy]
    if not lower:
        return list(ISODOSE_PERCENT), []
    percent = {p.target: CONFORMITY_PERCENT * p.dose_gy / highest_gy for p in lower}
    kept = [p for p in ISODOSE_PERCENT if p != REPLACED_PERCENT]
    notes = [
        f"{share:.3g} % is {CONFORMITY_PERCENT:g} % for {tokens.token(target)}"
        for target, share in percent.items()
    ]
    return sorted({*kept, *percent.values()}, reverse=True), notes


def _cuts(case: Case, facts: SpatialFacts, tokens: StructureTokens) -> Iterator[_Cut]:
    center = case.structure(facts.target).occupancy.centroid_mm
    for view in ("axial", "coronal", "sagittal"):
        yield _Cut(view, center, (f"{tokens.token(facts.target)} centre",))
    worst = [spots[0] for p in facts.hot_levels_percent if (spots := facts.hot_spots_above(p))]
    if worst:
        spot = worst[-1]  # of the highest level
        title = f"the hot spot above {spot.level_percent:g} %"
        yield _spot(spot.peak_mm, title)
    else:
        yield _spot(facts.maximum_mm, "the highest dose")
    if facts.cold_spots:
        coldest = facts.cold_spots[0]
        target = tokens.token(coldest.target)
        yield _spot(coldest.lowest_mm, f"the cold spot of {target}")
    spill = facts.spills[0]
    isodose = f"{spill.percent:g} % of {spill.prescription_gy:g} Gy"
    if spill.islands and spill.islands[0].distance_mm >= max(spill.reach_mm, LEAST_REACH_MM):
        yield _spot(spill.islands[0].center_mm, f"the island of {isodose}")
    elif spill.reach_point_mm is not None and spill.reach_mm >= LEAST_REACH_MM:
        yield _spot(spill.reach_point_mm, f"the furthest reach of {isodose}")


def _spot(point_mm: Triple, what: str) -> _Cut:
    """An axial slice through a spot that is marked."""
    return _Cut("axial", point_mm, (what,), (point_mm,))


def _small_png(figure: Figure) -> bytes:
    from ..figures import png_bytes

    for dpi in DPI:
        png = png_bytes(figure, dpi)
        if len(png) < MOST_BYTES:
            break
    return png
