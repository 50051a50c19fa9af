"""The photon SVD pencil beam of pyRadPlan; the only file that imports pyRadPlan.

Bortfeld, Schlegel and Rhein, Med. Phys. 20, 311 (1993). The CT handed over already lies on the
dose grid, so pyRadPlan neither resamples it nor moves the grid's origin (it does both when the
two grids differ).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import metadata, util
from pathlib import Path

import numpy as np
from scipy import io, sparse

from ..errors import InputError
from .engine import Anatomy, Field
from .fields import beam_rotation
from .superposition import LateralKernels, superpose

#: Raised by one whenever a change in this file may change a dose.
CODE_VERSION = 2
#: Nominal energy of the only photon beam quality that pyRadPlan ships.
_ENERGY_MV = 6.0
#: Versions of pyRadPlan whose internals `SuperposingEngine` was tested against; others compute
#: every beamlet themselves, slower.
_SUPERPOSED_VERSIONS = ("0.5.",)


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
        distance = self.source_axis_distance_mm(field.beam.machine)
        superposed = _installed_version().startswith(_SUPERPOSED_VERSIONS)
        with quiet_on_cpu():
            ct, structures = _patient(anatomy)
            steering = _steering(field, distance)
            engine = _engine_class(report, superposed)(_plan(field))
            engine.dose_grid = ct.grid
            engine.geometric_lateral_cutoff = self.lateral_cutoff_mm
            if superposed:
                return engine.superposed_influence(ct, structures, steering)
            return engine.calc_dose_influence(ct, structures, steering).physical_dose.flat[0]


def _installed_version() -> str:
    try:
        return metadata.version("pyRadPlan")
    except metadata.PackageNotFoundError:
        raise InputError(
            "the dose engine pyRadPlan is not installed; install it with: "
            "pip install 'radplan[plan]'"
        ) from None


@lru_cache
def _machine_file(machine: str) -> Path:
    """Base data of a photon machine, found without importing pyRadPlan."""
    folder = Path(util.find_spec("pyRadPlan").origin).parent / "data" / "machines"
    path = folder / f"photons_{machine}.mat"
    if not path.is_file():
        known = sorted(p.stem.removeprefix("photons_") for p in folder.glob("photons_*.mat"))
        raise InputError(
            f"pyRadPlan has no photon machine {machine!r}; it has {', '.join(known) or 'none'}"
        )
    return path


def _patient(anatomy: Anatomy) -> tuple[object, object]:
    """CT and structure set of pyRadPlan: the body alone, all on the dose grid."""
    import SimpleITK
    from pyRadPlan.cst import VOI, create_cst
    from pyRadPlan.ct import create_ct

    def image(array: np.ndarray) -> SimpleITK.Image:
        result = SimpleITK.GetImageFromArray(array)
        result.SetSpacing(anatomy.grid.spacing_mm)
        result.SetOrigin(anatomy.grid.origin_mm)
        return result

    ct = create_ct(cube_hu=image(anatomy.hu))
    body = VOI(
        name="BODY", voi_type="EXTERNAL", ct_image=ct, mask=image(anatomy.inside.astype(np.uint8))
    )
    return ct, create_cst(vois=[body], ct=ct)


def _steering(field: Field, source_axis_distance_mm: float) -> object:
    """One beam in pyRadPlan's terms, one ray per beamlet.

    Made without pydantic's validation, which takes longer per ray than its dose.
    """
    from pyRadPlan.stf import Beam, Beamlet, Ray, SteeringInformation

    beam = field.beam
    rotation = beam_rotation(beam.gantry_angle_deg, beam.couch_angle_deg)
    source_bev = np.array([0.0, -source_axis_distance_mm, 0.0])
    rays = []
    for x, z in zip(field.x_mm, field.z_mm, strict=True):
        position = np.array([x, 0.0, z])
        target = 2.0 * position - source_bev
        rays.append(
            Ray.model_construct(
                ray_pos_bev=position,
                ray_pos=rotation @ position,
                target_point_bev=target,
                target_point=rotation @ target,
                beamlets=[Beamlet.model_construct(energy=_ENERGY_MV)],
            )
        )
    return SteeringInformation.model_construct(
        beams=[
            Beam.model_construct(
                gantry_angle=beam.gantry_angle_deg,
                couch_angle=beam.couch_angle_deg,
                bixel_width=beam.bixel_width_mm,
                radiation_mode="photons",
                machine=beam.machine,
                sad=source_axis_distance_mm,
                iso_center=np.array(beam.isocenter_mm, dtype=np.float64),
                source_point_bev=source_bev,
                source_point=rotation @ source_bev,
                rays=rays,
            )
        ]
    )


def _plan(field: Field) -> object:
    from pyRadPlan.plan import PhotonPlan

    return PhotonPlan(machine=field.beam.machine)


def _engine_class(report: Callable[[float], None], superposed: bool) -> type:
    """Make pyRadPlan's engine class report, and compute beamlets by `superpose` where it can."""
    from pyRadPlan.dose.engines import PhotonPencilBeamSVDEngine

    if not superposed:

        class ReportingEngine(PhotonPencilBeamSVDEngine):
            def _init_ray(self, beam_info: dict, j: int) -> dict:
                report(j / len(beam_info["beam"]["rays"]))
                return super()._init_ray(beam_info, j)

        return ReportingEngine

    class SuperposingEngine(PhotonPencilBeamSVDEngine):
        """Densities, ray tracing and kernels by pyRadPlan; the loop over beamlets by us.

        Stock pyRadPlan looks at every body voxel, evaluates exponentials and calls an
        interpolator per kernel component for every beamlet; the results are the same.
        """

        def superposed_influence(
            self, ct: object, structures: object, steering: object
        ) -> sparse.csc_array:
            self._calc_dose_direct = False
            # Room for the stock matrix is not needed.
            self.assumed_sparsity = 1e-12
            setup = self._init_dose_calc(ct, structures, steering)
            # The tracer is given the beam as a dictionary, and would validate every ray of it.
            trace = self._raytracer.trace_cubes
            self._raytracer.trace_cubes = lambda _: trace(steering.beams[0])
            self._vox_world_coords = self._vox_world_coords.astype(np.float32)
            self._vox_world_coords_dose_grid = self._vox_world_coords_dose_grid.astype(np.float32)
            beam = self._init_beam(setup, ct, structures, steering, 0)
            report(0.0)
            valid = np.asarray(beam["valid_coords_all"])
            axes = np.array([ray["ray_pos_bev"] for ray in beam["beam"]["rays"]])[:, [0, 2]]
            return superpose(
                np.asarray(beam["bev_coords"])[valid],
                _depth_doses(beam, valid),
                np.asarray(self._vdose_grid)[valid],
                axes,
                _lateral_kernels(beam["kernel_interpolators"], self.geometric_lateral_cutoff),
                float(beam["beam"]["sad"]),
                self.geometric_lateral_cutoff,
                ct.grid.num_voxels,
                report,
            )

    return SuperposingEngine


def _depth_doses(beam: dict, valid: np.ndarray) -> np.ndarray:
    """Depth factors of all kernel components per voxel, float32 (voxels, components).

    β/(β − m) · (exp(−m r) − exp(−β r)) · (SAD / g)² with radiological depth r and distance g
    from the source (Bortfeld et al. 1993, eq. 7, and the inverse square law).
    """
    depth = np.asarray(beam["rad_depths"][0])[valid].astype(np.float64)[:, None]
    distance = np.asarray(beam["geo_depths"][0])[valid].astype(np.float64)[:, None]
    kernel = beam["kernel"]
    m, beta = float(kernel.m), np.asarray(kernel.kernel_betas, dtype=np.float64).reshape(1, -1)
    doses = beta / (beta - m) * (np.exp(-m * depth) - np.exp(-beta * depth))
    return (doses * (float(beam["beam"]["sad"]) / distance) ** 2).astype(np.float32)


def _lateral_kernels(interpolators: list, reach_mm: float) -> LateralKernels:
    """The part of pyRadPlan's convolved kernels within reach, from its interpolators."""
    axis = np.asarray(interpolators[0].keywords["x"][0], dtype=np.float64)
    inside = np.abs(axis) <= reach_mm + 2 * (axis[1] - axis[0])
    values = [np.asarray(each.keywords["y"])[np.ix_(inside, inside)] for each in interpolators]
    flat = np.stack([value.ravel() for value in values], axis=1).astype(np.float32)
    return LateralKernels(axis[inside], np.ascontiguousarray(flat))


@contextmanager
def quiet_on_cpu() -> Iterator[None]:
    """Keep pyRadPlan's warnings and log lines from the user, and its arrays in numpy.

    pyRadPlan logs from INFO on, and version 0.5 takes a GPU where it finds one: with other
    rounding, and with several processes that would share it.
    """
    import pyRadPlan

    if hasattr(pyRadPlan, "settings"):
        pyRadPlan.settings.xp.prefer_gpu = False
        pyRadPlan.settings.xp.preferred_cpu_array_backend = "numpy"
    log = logging.getLogger("pyRadPlan")
    level = log.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        log.setLevel(logging.ERROR)
        try:
            yield
        finally:
            log.setLevel(level)
