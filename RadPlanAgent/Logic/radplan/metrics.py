"""Dose metrics: their language, and their exact values for one structure.

Conventions, the same everywhere in the project:

* Cumulative DVH: ``V(D)`` = volume of the samples with dose ≥ D.
* ``Dx`` = the largest dose D with V(D) ≥ x: the dose of the sample at which the volume, counted
  from the hottest sample down, first reaches x. Samples are sorted, never binned, and there is no
  interpolation between them, so that a plateau of the DVH cannot give a dose that no part of the
  structure receives. How fine the samples are is `radplan.sampling`'s business.
* A structure smaller than x cc has no Dx: its minimum dose is given, and `metric_note` says so.
* Doses within one part in a million of a threshold count as reaching it: they are stored in
  single precision, and a plan scaled to D95% = 50 Gy must have V50Gy ≥ 95 %.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from .errors import InputError
from .files import written_by_rename

#: Relative slack of dose comparisons: a few roundings of a float32.
DOSE_TOLERANCE = 1e-6
#: Relative slack of volume comparisons: rounding of a sum of float64.
VOLUME_TOLERANCE = 1e-9
#: A smaller part of a structure outside the dose grid is not worth a word.
LEAST_UNCOVERED = 1e-4

#: Formulas behind the metrics ``HI`` and ``CI``; to be shown wherever their values are.
HI_FORMULA = "(D5% - D95%) / prescription x 100 (GPT-RadPlan, matRad)"
CI_FORMULA = (
    "TV95^2 / (TV x V95): TV target volume, TV95 its part and V95 the body's part with at least "
    "95 % of the prescription (van't Riet at the 95 % isodose; GPT-RadPlan)"
)

_NUMBER = r"([0-9]{1,6}(?:\.[0-9]{1,6})?)"
_PATTERN = re.compile(rf"D{_NUMBER}(%|cc)|V{_NUMBER}(Gy|cGy|%)", re.ASCII)
_WORDS = ("mean", "max", "min", "HI", "CI")
_UNITS = {
    "D": ("Gy", "%"),
    "V": ("%", "cc"),
    "mean": ("Gy", "%"),
    "max": ("Gy", "%"),
    "min": ("Gy", "%"),
    "HI": ("",),
    "CI": ("",),
}


@dataclass(frozen=True)
class Metric:
    """One number asked of a dose distribution in a structure. Made by `parse_metric`.

    Parameters
    ----------
    text : str
        Canonical text: ``D95%``, ``D0.03cc``, ``V20Gy``, ``V95%``, ``mean``, ``HI`` …
    kind : str
        ``D``, ``V``, ``mean``, ``max``, ``min``, ``HI`` or ``CI``.
    level : float, optional
        The x of Dx or Vx.
    level_unit : str, optional
        ``%`` or ``cc`` for D; ``Gy`` or ``%`` (of the prescription) for V.
    """

    text: str
    kind: str
    level: float | None = None
    level_unit: str | None = None

    def __str__(self) -> str:
        return self.text

    @property
    def units(self) -> tuple[str, ...]:
        """Units that the result can have, the usual one first.

        Doses: Gy, or % of the prescription. Volumes: % of the structure, or cc. HI, CI: none.
        """
        return _UNITS[self.kind]

    @property
    def default_unit(self) -> str:
        """The usual unit of the result."""
        return self.units[0]


def parse_metric(text: str) -> Metric:
    """Read a metric such as ``D95%``, ``D0.03cc``, ``V20Gy``, ``V2000cGy``, ``V95%`` or ``mean``.

    The whole text must be one metric; nothing is guessed. cGy becomes Gy.

    Raises
    ------
    InputError
        If the text is no metric: unit missing, volume of 0 or above 100 %, unknown word …
    """
    if text in _WORDS:
        return Metric(text, text)
    match = _PATTERN.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise InputError(
            f"{text!r} is not a metric; write for example D95%, D0.03cc, V20Gy, V2000cGy, V95% "
            "(of the prescription), mean, max, min, HI or CI"
        )
    volume, volume_unit, dose, dose_unit = match.groups()
    if volume is not None:
        level = float(volume)
        if level == 0 or (volume_unit == "%" and level > 100):
            raise InputError(
                f"metric {text!r}: the volume must be above 0 and at most 100 %; use max for the "
                "highest dose"
            )
        return Metric(f"D{_plain(level)}{volume_unit}", "D", level, volume_unit)
    level = float(dose)
    if dose_unit == "cGy":
        level, dose_unit = level / 100.0, "Gy"
    return Metric(f"V{_plain(level)}{dose_unit}", "V", level, dose_unit)


def _plain(number: float) -> str:
    """Write a number without exponent or trailing zeros."""
    return f"{number:.8f}".rstrip("0").rstrip(".")


@dataclass(frozen=True, eq=False)
class StructureDose:
    """The dose in one structure: samples and the volume that each stands for.

    Parameters
    ----------
    dose_gy : array_like, float, 1-D
        Dose of every sample, Gy for the whole course; sorted on construction, hottest first.
    sample_volume_cc : array_like, float, 1-D
        Volume of every sample, cubic centimetres, above zero.
    uncovered_fraction : float
        Part of the structure's volume that lies outside the dose grid and was given zero dose.

    Raises
    ------
    InputError
        If there are no samples, or a dose is negative or not a number. No structure is silently
        empty.
    """

    dose_gy: np.ndarray
    sample_volume_cc: np.ndarray
    uncovered_fraction: float = 0.0

    def __post_init__(self) -> None:
        dose = np.asarray(self.dose_gy)
        volume = np.asarray(self.sample_volume_cc, np.float64)
        if dose.ndim != 1 or dose.shape != volume.shape:
            raise ValueError(f"doses of shape {dose.shape}, volumes of shape {volume.shape}")
        if not dose.size:
            raise InputError("the structure is empty: it has no volume to take a dose from")
        if not (np.isfinite(volume).all() and volume.min() > 0):
            raise ValueError("sample volumes must be finite and above zero")
        order = np.argsort(dose)[::-1]
        dose = dose[order].astype(np.float64)
        if not (np.isfinite(dose[0]) and np.isfinite(dose[-1])):  # NaN sorts to the end
            raise InputError("dose has values that are not numbers (NaN or infinite)")
        if dose[-1] < 0:
            raise InputError(f"dose has negative values (lowest {dose[-1]:.3g} Gy)")
        object.__setattr__(self, "dose_gy", dose)
        object.__setattr__(self, "sample_volume_cc", volume[order])

    @cached_property
    def _cumulative_cc(self) -> np.ndarray:
        """Volume of the n hottest samples, n = 1 …, cubic centimetres."""
        return np.cumsum(self.sample_volume_cc)

    @property
    def volume_cc(self) -> float:
        """Volume of the structure, cubic centimetres."""
        return float(self._cumulative_cc[-1])

    @cached_property
    def mean_gy(self) -> float:
        """Mean dose, Gy: Σ vᵢ dᵢ / Σ vᵢ."""
        return float(self.dose_gy @ self.sample_volume_cc / self.volume_cc)

    @property
    def min_gy(self) -> float:
        """Lowest sample dose, Gy."""
        return float(self.dose_gy[-1])

    @property
    def max_gy(self) -> float:
        """Highest sample dose, Gy."""
        return float(self.dose_gy[0])

    def dose_at_volume_percent(self, percent: float) -> float:
        """Dx%, Gy: the largest dose that at least x % of the volume receives."""
        if not 0 <= percent <= 100:
            raise ValueError(f"percent of volume must lie in 0 … 100, got {percent}")
        return self.dose_at_volume_cc(percent / 100.0 * self.volume_cc)

    def dose_at_volume_cc(self, volume_cc: float) -> float:
        """Dxcc, Gy: the largest dose that at least x cc receive; the minimum if there is less."""
        if not volume_cc >= 0:
            raise ValueError(f"volume must not be negative, got {volume_cc}")
        wanted = volume_cc - VOLUME_TOLERANCE * self.volume_cc
        index = np.searchsorted(self._cumulative_cc, wanted, "left")
        return float(self.dose_gy[min(index, self.dose_gy.size - 1)])

    def volume_cc_at_dose(self, dose_gy: float) -> float:
        """Volume that receives at least a dose (Gy), cubic centimetres."""
        return float(self._volumes_cc(np.asarray(dose_gy, np.float64)))

    def volume_percent_at_dose(self, dose_gy: float) -> float:
        """Part of the volume that receives at least a dose (Gy), percent."""
        return 100.0 * self.volume_cc_at_dose(dose_gy) / self.volume_cc

    def dvh(self, doses_gy: np.ndarray) -> np.ndarray:
        """Cumulative DVH, percent of the volume, at every dose (Gy); same shape, float64."""
        return 100.0 * self._volumes_cc(np.asarray(doses_gy, np.float64)) / self.volume_cc

    def _volumes_cc(self, doses_gy: np.ndarray) -> np.ndarray:
        reached = self.dose_gy.size - np.searchsorted(
            self.dose_gy[::-1], doses_gy - DOSE_TOLERANCE * np.abs(doses_gy), "left"
        )
        return np.concatenate(([0.0], self._cumulative_cc))[reached]


def evaluate_metric(
    metric: Metric,
    structure_dose: StructureDose,
    *,
    unit: str | None = None,
    prescription_gy: float | None = None,
    external_dose: StructureDose | None = None,
) -> float:
    """Value of a metric, in a unit.

    Parameters
    ----------
    metric : Metric
    structure_dose : StructureDose
    unit : str, optional
        One of ``metric.units``; the usual one if not given. ``%`` of a dose metric is percent of
        the prescription.
    prescription_gy : float, optional
        Prescribed dose, Gy; needed for ``V95%``, for doses in %, and for HI and CI.
    external_dose : StructureDose, optional
        Dose in the whole body; needed for CI.

    Raises
    ------
    InputError
        If the unit does not fit the metric, or what the metric needs is missing.
    """
    unit = metric.default_unit if unit is None else unit
    if unit not in metric.units:
        raise InputError(
            f"metric {metric} cannot be given in {unit!r}; use "
            + " or ".join(repr(u) for u in metric.units)
        )
    relative = metric.kind in ("HI", "CI") or metric.level_unit == "%" and metric.kind == "V"
    if relative or (metric.kind != "V" and unit == "%"):
        if prescription_gy is None or not 0 < prescription_gy < np.inf:
            raise InputError(
                f"metric {metric} in {unit or 'no unit'} needs the structure's prescribed dose; "
                "name a target with a prescription, or use a metric in Gy"
            )
    if metric.kind == "HI":
        return homogeneity_index_gpt_radplan(structure_dose, prescription_gy)
    if metric.kind == "CI":
        if external_dose is None:
            raise InputError("metric CI needs the body: add an EXTERNAL structure")
        return conformity_index_95(structure_dose, external_dose, prescription_gy)
    if metric.kind == "V":
        level = metric.level if metric.level_unit == "Gy" else metric.level * prescription_gy / 100
        if unit == "cc":
            return structure_dose.volume_cc_at_dose(level)
        return structure_dose.volume_percent_at_dose(level)
    dose_gy = _dose_gy(metric, structure_dose)
    return dose_gy if unit == "Gy" else 100.0 * dose_gy / prescription_gy


def _dose_gy(metric: Metric, structure_dose: StructureDose) -> float:
    """Value of a D, mean, max or min metric, Gy."""
    if metric.kind == "D":
        if metric.level_unit == "cc":
            return structure_dose.dose_at_volume_cc(metric.level)
        return structure_dose.dose_at_volume_percent(metric.level)
    return getattr(structure_dose, f"{metric.kind}_gy")


def metric_note(metric: Metric, structure_dose: StructureDose) -> str:
    """Say what a reader must know about a metric's value here; empty when nothing."""
    notes = []
    if (
        metric.level_unit == "cc"
        and structure_dose.volume_cc * (1 + VOLUME_TOLERANCE) < metric.level
    ):
        notes.append(
            f"the structure has only {structure_dose.volume_cc:.3g} cc: its minimum dose is given"
        )
    if structure_dose.uncovered_fraction > LEAST_UNCOVERED:
        notes.append(
            f"{100 * structure_dose.uncovered_fraction:.2g} % of the structure lies outside the "
            "dose grid and counts as 0 Gy"
        )
    return "; ".join(notes)


def homogeneity_index_gpt_radplan(target: StructureDose, prescription_gy: float) -> float:
    """`HI_FORMULA`: (D5% − D95%) / prescription × 100. 0 is ideal."""
    spread = target.dose_at_volume_percent(5) - target.dose_at_volume_percent(95)
    return 100.0 * spread / prescription_gy


def conformity_index_95(
    target: StructureDose, external: StructureDose, prescription_gy: float
) -> float:
    """`CI_FORMULA`: TV95² / (TV · V95). 1 is ideal; 0 where nothing reaches 95 %."""
    isodose_gy = 0.95 * prescription_gy
    covered = target.volume_cc_at_dose(isodose_gy)
    isodose_volume = external.volume_cc_at_dose(isodose_gy)
    # The body holds the target; a target at its edge may exceed it by rounding.
    return covered**2 / (target.volume_cc * max(isodose_volume, covered)) if covered else 0.0


def dvh_table(
    structure_doses: Mapping[str, StructureDose], step_gy: float = 0.1
) -> tuple[list[str], list[list[float]]]:
    """Cumulative DVHs of all structures on common doses.

    Parameters
    ----------
    structure_doses : mapping of name to StructureDose
    step_gy : float
        Distance of the doses, which run from 0 to the first one that nothing exceeds.

    Returns
    -------
    header : list of str
        ``dose_gy``, then the structures' names.
    rows : list of list of float
        Dose (Gy), then the percent of each structure's volume that receives at least that dose.

    Raises
    ------
    InputError
        If there are no structures.
    """
    if not structure_doses:
        raise InputError("there are no structures to make a DVH of")
    highest = max(dose.max_gy for dose in structure_doses.values())
    doses_gy = step_gy * np.arange(int(np.floor(highest / step_gy)) + 2)
    columns = [dose.dvh(doses_gy) for dose in structure_doses.values()]
    return ["dose_gy", *structure_doses], np.column_stack([doses_gy, *columns]).tolist()


def write_dvh_csv(
    path: str | Path, header: Sequence[str], rows: Sequence[Sequence[float]]
) -> None:
    """Write a table made by `dvh_table` as CSV, all numbers with four decimals."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(header)
    table.writerows([f"{value:.4f}" for value in row] for row in rows)
    with written_by_rename(path) as file:
        file.write(text.getvalue().encode())
