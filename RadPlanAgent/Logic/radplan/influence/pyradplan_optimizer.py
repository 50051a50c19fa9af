"""pyRadPlan's own fluence optimization on one of our influence matrices, to compare with."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .matrix import InfluenceMatrix
from .pyradplan_engine import quiet_on_cpu


@dataclass(frozen=True)
class PeerObjective:
    """An objective in pyRadPlan's terms.

    Parameters
    ----------
    mask : ndarray of bool, (z, y, x)
        Its voxels on the dose grid.
    function : str
        A key of `FUNCTIONS`.
    weight : float
    dose_gy, volume_percent : float or None
    """

    mask: np.ndarray
    function: str
    weight: float
    dose_gy: float | None
    volume_percent: float | None


@dataclass(frozen=True)
class PeerResult:
    """What pyRadPlan made of a problem.

    Parameters
    ----------
    fluence : ndarray of float64
    seconds : float
        Of its fluence_optimization, preparation included.
    history : tuple of float
        Its cost at every evaluation.
    """

    fluence: np.ndarray
    seconds: float
    history: tuple[float, ...]


#: pyRadPlan's class and its names of the dose level and the volume, by our function.
FUNCTIONS: dict[str, tuple[str, str, str]] = {
    "squared_deviation": ("SquaredDeviation", "d_ref", ""),
    "squared_overdosing": ("SquaredOverdosing", "d_max", ""),
    "squared_underdosing": ("SquaredUnderdosing", "d_min", ""),
    "mean_dose": ("MeanDose", "", ""),
    "max_dvh": ("MaxDVH", "d", "v_max"),
    "min_dvh": ("MinDVH", "d", "v_min"),
}


def peer_solvers() -> tuple[str, ...]:
    """Names of the solvers that pyRadPlan has here; empty where it is not installed."""
    try:
        with quiet_on_cpu():
            from pyRadPlan.optimization.solvers import get_available_solvers

            return tuple(get_available_solvers())
    except ImportError:
        return ()


def peer_fluence(
    influence: InfluenceMatrix, objectives: Sequence[PeerObjective], solver: str
) -> PeerResult:
    """Optimize with pyRadPlan, its own settings, from its own start (no fluence at all).

    Parameters
    ----------
    influence : InfluenceMatrix
    objectives : sequence of PeerObjective
    solver : str
        One of `peer_solvers`.

    Raises
    ------
    InputError
        If pyRadPlan has no such objective.
    """
    with quiet_on_cpu():
        from pyRadPlan.dij import Dij
        from pyRadPlan.optimization import fluence_optimization
        from pyRadPlan.plan import PhotonPlan

        ct, structures = _structures(influence, objectives)
        n = influence.n_beamlets
        dij = Dij(
            dose_grid=ct.grid,
            ct_grid=ct.grid,
            # Columns first, as its own engine makes it.
            physical_dose=influence.matrix.tocsc(),
            num_of_beams=len(influence.beams),
            bixel_num=np.zeros(n, np.int64),
            ray_num=np.arange(n),
            beam_num=influence.beamlets.beam.astype(np.int64),
        )
        plan = PhotonPlan(machine=influence.beams[0].machine)
        plan.prop_opt = {"solver": solver, "apply_overlap": False, "display": False}
        information: dict = {}
        began = time.perf_counter()
        fluence = fluence_optimization(
            ct, structures, _steering(influence), dij, plan, opt_info=information
        )
        seconds = time.perf_counter() - began
    return PeerResult(np.asarray(fluence, np.float64), seconds, tuple(information["obj_history"]))


def _structures(
    influence: InfluenceMatrix, objectives: Sequence[PeerObjective]
) -> tuple[object, object]:
    """A CT of water on the dose grid, and one volume of interest for each objective."""
    import SimpleITK
    from pyRadPlan.cst import VOI, create_cst
    from pyRadPlan.ct import create_ct
    from pyRadPlan.optimization import objectives as functions

    grid = influence.grid

    def image(array: np.ndarray) -> SimpleITK.Image:
        result = SimpleITK.GetImageFromArray(array)
        result.SetSpacing(grid.spacing_mm)
        result.SetOrigin(grid.origin_mm)
        return result

    ct = create_ct(cube_hu=image(np.zeros(grid.shape, np.float32)))
    volumes = [
        VOI(
            name="BODY",
            voi_type="EXTERNAL",
            ct_image=ct,
            mask=image(np.ones(grid.shape, np.uint8)),
        )
    ]
    for index, o in enumerate(objectives):
        if o.function not in FUNCTIONS:
            raise InputError(f"pyRadPlan has no {o.function} to compare with")
        name, dose_name, volume_name = FUNCTIONS[o.function]
        values: dict = {"priority": o.weight}
        if dose_name:
            values[dose_name] = o.dose_gy
        if volume_name:
            values[volume_name] = o.volume_percent
        if o.function == "mean_dose":
            values |= {"d_ref": 0.0, "f_diff": "linear"}
        volumes.append(
            VOI(
                name=f"{index}",
                voi_type="OAR",
                ct_image=ct,
                mask=image(o.mask.astype(np.uint8)),
                objectives=[getattr(functions, name)(**values)],
            )
        )
    return ct, create_cst(vois=volumes, ct=ct)


def _steering(influence: InfluenceMatrix) -> object:
    """Beams without rays: the optimization looks at their radiation only."""
    from pyRadPlan.stf import Beam, SteeringInformation

    return SteeringInformation.model_construct(
        beams=[
            Beam.model_construct(radiation_mode="photons", machine=beam.machine, rays=[])
            for beam in influence.beams
        ]
    )
