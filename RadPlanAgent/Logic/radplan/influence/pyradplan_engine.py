"""The photon SVD pencil beam of pyRadPlan; the only file that imports pyRadPlan.

Bortfeld, Schlegel and Rhein, Med. Phys. 20, 311 (1993). The CT handed over already lies on the
dose grid, so pyRadPlan neither resamples it nor moves the grid's origin (it does both when the
two grids differ).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from functools import lru_cache
from importlib import metadata, util
from pathlib import Path

import numpy as np
from scipy import io, sparse

from ..errors import InputError
from .engine import Anatomy, Field
from .fields import beam_rotation

#: Raised by one whenever a change in this file may change a dose.
CODE_VERSION = 1


class PyRadPlanPencilBeam:
    """Dose engine: pyRadPlan's ``SVDPB`` for static photon beams of its ``Generic`` 6 MV machine.

    pyRadPlan's defaults are kept: densities from its own Hounsfield table, 50 mm lateral cut-off
    in the isocentre plane, 0.5 mm convolution grid, flat primary fluence.
    """

    lateral_cutoff_mm = 50.0

    def identity(self, machine: str) -> str:
        """Engine, version, code version and machine; see `DoseEngine.identity`."""
        version = _installed_version()
        _machine_file(machine)
        return f"pyRadPlan {version} SVDPB, photons {machine}, code {CODE_VERSION}"

    def source_axis_distance_mm(self, machine: str) -> float:
        """Distance of source and isocentre of a machine, mm."""
        _installed_version()
        content = io.loadmat(_machine_file(machine), simplify_cells=True)
        return float(content["machine"]["meta"]["SAD"])

    def influence(
        self, anatomy: Anatomy, field: Field, report: Callable[[float], None]
    ) -> sparse.csc_array:
        """Dose per unit weight of each beamlet; see `DoseEngine.influence`."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.getLogger("pyRadPlan").setLevel(logging.ERROR)
            ct, structures = _patient(anatomy)
            steering = _steering(field, self.source_axis_distance_mm(field.beam.machine))
            engine = _engine(ct, steering, report)
            dij = engine.calc_dose_influence(ct, structures, steering)
        return dij.physical_dose.flat[0]


def _installed_version() -> str:
    try:
        return metadata.version("pyRadPlan")
    except metadata.PackageNotFoundError:
        raise InputError(
            "the dose engine pyRadPlan is not installed; install it with: "
            "pip install 'radplan[engine]'"
        ) from None


@lru_cache
def _machine_file(machine: str) -> Path:
    """Base data of a photon machine, found without importing pyRadPlan."""
    folder = Path(util.find_spec("pyRadPlan").origin).parent / "data" / "machines"
    path = folder / f"photons_{machine}.mat"
    if not path.is_file():
        known = ", ".join(sorted(p.stem.removeprefix("photons_") for p in folder.glob("photons_*")))
        raise InputError(f"pyRadPlan has no photon machine {machine!r}; it has {known or 'none'}")
    return path


def _patient(anatomy: Anatomy) -> tuple[object, object]:
    """CT and structure set of pyRadPlan: the body alone, all on the dose grid."""
    import SimpleITK as sitk
    from pyRadPlan.cst import VOI, create_cst
    from pyRadPlan.ct import create_ct

    def image(array: np.ndarray) -> sitk.Image:
        result = sitk.GetImageFromArray(array)
        result.SetSpacing(anatomy.grid.spacing_mm)
        result.SetOrigin(anatomy.grid.origin_mm)
        return result

    ct = create_ct(cube_hu=image(anatomy.hu))
    body = VOI(
        name="BODY", voi_type="EXTERNAL", ct_image=ct, mask=image(anatomy.inside.astype(np.uint8))
    )
    return ct, create_cst(vois=[body], ct=ct)


def _steering(field: Field, source_axis_distance_mm: float) -> object:
    """One beam in pyRadPlan's terms, one ray per beamlet."""
    from pyRadPlan.stf import SteeringInformation

    beam = field.beam
    rotation = beam_rotation(beam.gantry_angle_deg, beam.couch_angle_deg)
    source_bev = np.array([0.0, -source_axis_distance_mm, 0.0])
    rays = []
    for x, z in zip(field.x_mm, field.z_mm, strict=True):
        position = np.array([x, 0.0, z])
        target = 2.0 * position - source_bev
        rays.append(
            {
                "ray_pos_bev": position,
                "ray_pos": rotation @ position,
                "target_point_bev": target,
                "target_point": rotation @ target,
                "beamlets": [{"energy": 6.0}],
            }
        )
    return SteeringInformation.model_validate(
        {
            "beams": [
                {
                    "gantry_angle": beam.gantry_angle_deg,
                    "couch_angle": beam.couch_angle_deg,
                    "bixel_width": beam.bixel_width_mm,
                    "radiation_mode": "photons",
                    "machine": beam.machine,
                    "sad": source_axis_distance_mm,
                    "iso_center": np.array(beam.isocenter_mm, dtype=np.float64),
                    "source_point_bev": source_bev,
                    "source_point": rotation @ source_bev,
                    "rays": rays,
                }
            ]
        }
    )


def _engine(ct: object, steering: object, report: Callable[[float], None]) -> object:
    """The pyRadPlan engine, telling how far it is after each ray."""
    from pyRadPlan.dose.engines import PhotonPencilBeamSVDEngine
    from pyRadPlan.plan import PhotonPlan

    beam = steering.beams[0]

    class ReportingEngine(PhotonPencilBeamSVDEngine):
        def _init_ray(self, beam_info: dict, j: int) -> dict:
            report(j / beam.num_of_rays)
            return super()._init_ray(beam_info, j)

    engine = ReportingEngine(PhotonPlan(machine=beam.machine))
    engine.dose_grid = ct.grid
    engine.geometric_lateral_cutoff = PyRadPlanPencilBeam.lateral_cutoff_mm
    return engine
