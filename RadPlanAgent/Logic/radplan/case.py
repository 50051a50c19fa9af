"""One patient's anatomy: the CT and the structures drawn on it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np

from .beams import Beam
from .errors import InputError
from .geometry import Grid, Occupancy


class StructureType(str, Enum):
    """What a structure is to the planner."""

    TARGET = "TARGET"
    OAR = "OAR"
    EXTERNAL = "EXTERNAL"
    HELPER = "HELPER"


@dataclass(frozen=True)
class Structure:
    """A named region.

    Parameters
    ----------
    name : str
        TG-263 name where one is known, else the cleaned name of the source.
    type : StructureType
    occupancy : Occupancy
        Filled fraction of each CT voxel.
    source_name : str
        The name in the file it came from; never sent to a language model.
    color : tuple of int, optional
        RGB 0 … 255.
    """

    name: str
    type: StructureType
    occupancy: Occupancy
    source_name: str = ""
    color: tuple[int, int, int] | None = None

    @property
    def volume_cc(self) -> float:
        """Volume, cubic centimetres."""
        return self.occupancy.volume_cc


@dataclass(frozen=True)
class DoseImage:
    """A dose on a grid, Gy for the whole course, float32 (z, y, x)."""

    grid: Grid
    dose_gy: np.ndarray

    def __post_init__(self) -> None:
        if self.dose_gy.shape != self.grid.shape:
            raise InputError(
                f"dose of shape {self.dose_gy.shape} on a grid of shape {self.grid.shape}"
            )
        if not np.isfinite(self.dose_gy).all():
            raise InputError("dose has values that are not numbers (NaN or infinite)")
        if self.dose_gy.min() < 0:
            raise InputError(f"dose has negative values (lowest {self.dose_gy.min():.3g} Gy)")


@dataclass(frozen=True)
class ImportedPlan:
    """What an existing plan says: beams, prescription, dose. Any part may be missing."""

    label: str = ""
    beams: tuple[Beam, ...] = ()
    fractions: int | None = None
    prescription_gy: dict[str, float] = field(default_factory=dict)
    dose: DoseImage | None = None


@dataclass(frozen=True)
class DicomReference:
    """UIDs of the DICOM images that a case was read from.

    What is exported points to them, so that it lands on the right images; they never go to a
    language model.

    Parameters
    ----------
    study_uid, series_uid : str
        Study and CT series.
    image_uids : tuple of str
        One SOP instance UID per CT slice, in the order of the grid (from inferior to superior).
    """

    study_uid: str
    series_uid: str
    image_uids: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """One patient anatomy: CT, structures, frame of reference.

    Parameters
    ----------
    name : str
        A short label, free of patient identity.
    grid : Grid
        The CT grid, LPS.
    ct_hu : ndarray of float32, (z, y, x)
        Hounsfield units; -1024 outside the scan.
    structures : tuple of Structure
        Names are unique (`InputError` otherwise).
    patient_position : str
        DICOM patient position: HFS, HFP, FFS or FFP.
    frame_of_reference_uid : str
        DICOM frame of reference, empty when there is none.
    imported_plan : ImportedPlan, optional
        An existing plan that came with the anatomy.
    source : str
        Where it was read from.
    dicom : DicomReference, optional
        The DICOM images it was read from.
    warnings : tuple of str
        What a reader left out or assumed, in plain sentences for the person.
    """

    name: str
    grid: Grid
    ct_hu: np.ndarray
    structures: tuple[Structure, ...]
    patient_position: str = "HFS"
    frame_of_reference_uid: str = ""
    imported_plan: ImportedPlan | None = None
    source: str = ""
    dicom: DicomReference | None = None
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.ct_hu.shape != self.grid.shape:
            raise InputError(
                f"case {self.name}: CT of shape {self.ct_hu.shape} on a grid {self.grid.shape}"
            )
        names = [s.name for s in self.structures]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise InputError(
                f"case {self.name}: two structures are named {', '.join(twice)}; rename one"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all structures."""
        return tuple(s.name for s in self.structures)

    def structure(self, name: str) -> Structure:
        """The structure of that name; `InputError` naming those that exist otherwise."""
        for structure in self.structures:
            if structure.name == name:
                return structure
        raise InputError(
            f"case {self.name} has no structure {name!r}; it has {', '.join(self.names) or 'none'}"
        )

    def of_type(self, *types: StructureType) -> tuple[Structure, ...]:
        """All structures of the given types, in order."""
        return tuple(s for s in self.structures if s.type in types)

    @property
    def external(self) -> Structure:
        """The one EXTERNAL structure; `InputError` when there is none or more than one."""
        found = self.of_type(StructureType.EXTERNAL)
        if len(found) != 1:
            have = ", ".join(s.name for s in found) or "none"
            raise InputError(
                f"case {self.name} needs exactly one EXTERNAL (body) structure, it has {have}"
            )
        return found[0]

    def with_structures(self, structures: tuple[Structure, ...]) -> Case:
        """The same case with other structures."""
        return replace(self, structures=tuple(structures))
