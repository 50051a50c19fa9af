"""Compare our DVHs with those of Eclipse, CERR and SlicerRT on SlicerRT's own test sets.

Run ``python Testing/validation/dvh_eclipse.py FOLDER`` with a folder that holds ``*_Dose.nrrd``,
``*_Structures.seg.vtm`` and the tables ``*_DvhTable_*.csv`` and ``*_DvhMetrics_SlicerRT.csv``
(``EclipseProstate`` of https://github.com/SlicerRt/SlicerRT, ``Testing/Data``, MIT licence).
Prints Markdown; `--figure FILE` also draws the curves. Nothing in here is tuned to a data set.
"""

from __future__ import annotations

import argparse
import csv
import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from radplan.case import DoseImage
from radplan.geometry import Grid, Occupancy
from radplan.io.nrrd import read_dose
from radplan.io.surfaces import read_structures
from radplan.metrics import StructureDose
from radplan.sampling import StructureSampler

#: Criteria of the agreement: percent of the structure's volume, percent of the highest dose.
VOLUME_CRITERION_PERCENT = 1.0
DOSE_CRITERION_PERCENT = 1.0
#: Doses at which a curve is compared point by point, Gy: the step of SlicerRT's own tests.
CURVE_STEP_GY = 0.01
PEERS = ("SlicerRT", "CERR", "Eclipse")


@dataclass(frozen=True)
class Curve:
    """A cumulative DVH: doses (Gy), volumes (%), total volume (cc)."""

    dose_gy: np.ndarray
    volume_percent: np.ndarray
    volume_cc: float

    def fine(self) -> Curve:
        """The curve drawn with straight lines between its points, at fine steps."""
        doses = np.arange(0.0, self.dose_gy[-1] + CURVE_STEP_GY, CURVE_STEP_GY)
        return Curve(doses, np.interp(doses, self.dose_gy, self.volume_percent), self.volume_cc)


def agreement(
    reference: Curve, curve: Curve, highest_dose_gy: float, total_percent: float = 100.0
) -> np.ndarray:
    """Gamma of every reference point against a curve (Ebert et al., PMB 55 (2010) N337).

    The least of √((100 Δv / (criterion · total))² + (100 Δd / (criterion · highest dose))²) over
    the curve's points; a point agrees if it is at most 1. As in SlicerRT's
    vtkSlicerDoseVolumeHistogramComparisonLogic, where `total_percent` is the volume in cc
    although Δv is in percent (so that large structures pass easily and small ones hardly).
    """
    gamma = np.empty(reference.dose_gy.size)
    for i, (dose, volume) in enumerate(
        zip(reference.dose_gy, reference.volume_percent, strict=True)
    ):
        dv = 100 * (curve.volume_percent - volume) / (VOLUME_CRITERION_PERCENT * total_percent)
        dd = 100 * (curve.dose_gy - dose) / (DOSE_CRITERION_PERCENT * highest_dose_gy)
        gamma[i] = np.sqrt((dv**2 + dd**2).min())
    return gamma


def key_of(name: str) -> str:
    """A structure's name as all tables can spell it."""
    return re.sub(r"[\s_]|DvhArray", "", name).lower()


def read_table(path: Path) -> tuple[dict[str, Curve], int]:
    """Curves of a table by `key_of` name, and how many damaged rows were left out.

    A row whose dose does not exceed all before it is damaged; Eclipse's prostate table has one.
    """
    with path.open(newline="") as file:
        header, *rows = list(csv.reader(file))
    header = [text for text in header if text.strip()]
    numbers = np.array([[float(v or "nan") for v in row[: len(header)]] for row in rows])
    curves, damaged = {}, 0
    for column in range(0, len(header), 2):
        kept = np.isfinite(numbers[:, column : column + 2]).all(axis=1)
        dose, volume = numbers[kept, column], numbers[kept, column + 1]
        rising = dose > np.concatenate(([-1.0], np.maximum.accumulate(dose)[:-1]))
        damaged = max(damaged, int((~rising).sum()))
        name = header[column].split(" Dose (")[0]
        total = float(re.search(r"% of ([\d.]+) cc", header[column + 1])[1])
        curves[key_of(name)] = Curve(dose[rising], volume[rising], total)
    return curves, damaged


def our_curve(sampled: StructureDose, highest_dose_gy: float) -> Curve:
    """Our DVH at fine steps, up to where nothing is left anywhere."""
    doses = np.arange(0.0, highest_dose_gy + 2 * CURVE_STEP_GY, CURVE_STEP_GY)
    return Curve(doses, sampled.dvh(doses), sampled.volume_cc)


def our_metrics(sampled: StructureDose, columns: list[str]) -> dict[str, float]:
    """Values of the columns of SlicerRT's metrics table."""
    values = {}
    for column in columns:
        if match := re.fullmatch(r"V([\d.]+) \((cc|%)\)", column):
            dose = float(match[1])
            values[column] = (
                sampled.volume_cc_at_dose(dose)
                if match[2] == "cc"
                else sampled.volume_percent_at_dose(dose)
            )
        elif match := re.fullmatch(r"D([\d.]+)(cc|%) \(GY\)", column):
            volume = float(match[1])
            values[column] = (
                sampled.dose_at_volume_cc(volume)
                if match[2] == "cc"
                else sampled.dose_at_volume_percent(volume)
            )
        elif column == "Volume (cc)":
            values[column] = sampled.volume_cc
        elif match := re.fullmatch(r"(Mean|Min|Max) dose \(GY\)", column):
            values[column] = getattr(sampled, f"{match[1].lower()}_gy")
    return values


def extremes(occupancy: Occupancy, dose: DoseImage, oversampling: int = 2) -> tuple[float, float]:
    """Least and highest dose over the centres of refined dose voxels at least half occupied."""
    grid = dose.grid
    spacing = np.asarray(grid.spacing_mm) / oversampling
    fine = Grid(
        tuple(oversampling * n for n in grid.shape),
        tuple(spacing),
        tuple(np.asarray(grid.origin_mm) - spacing * (oversampling - 1) / 2),
    )
    inside = np.argwhere(occupancy.onto(fine).mask())
    index = (inside + 0.5) / oversampling - 0.5
    values = ndimage.map_coordinates(dose.dose_gy, index.T, order=1, mode="nearest")
    return float(values.min()), float(values.max())


def compare(folder: Path) -> tuple[str, dict[str, Curve], dict[str, dict[str, Curve]]]:
    """Markdown of all comparisons, our curves, and the peers' curves."""
    dose_path = next(iter(sorted(folder.glob("*_Dose.nrrd"))))
    prefix = dose_path.name.removesuffix("_Dose.nrrd")
    dose = read_dose(dose_path)
    highest = float(dose.dose_gy.max())
    start = time.perf_counter()
    structures = read_structures(folder / f"{prefix}_Structures.seg.vtm", dose.grid)
    read_s = time.perf_counter() - start
    samplers = {s.name: StructureSampler(s.occupancy, dose.grid) for s in structures}
    start = time.perf_counter()
    sampled = {name: sampler.sample(dose.dose_gy) for name, sampler in samplers.items()}
    sample_s = time.perf_counter() - start
    ours = {name: our_curve(values, highest) for name, values in sampled.items()}
    peers, notes = {}, []
    for peer in PEERS:
        path = folder / f"{prefix}_DvhTable_{peer}.csv"
        if path.is_file():
            peers[peer], damaged = read_table(path)
            if damaged:
                notes.append(f"{damaged} damaged row of {path.name} left out")

    lines = []
    for peer, curves in peers.items():
        lines += ["", f"#### {prefix} against {peer}", ""]
        lines += _peer_table(peer, curves, ours, peers, highest)

    metrics_path = folder / f"{prefix}_DvhMetrics_SlicerRT.csv"
    if metrics_path.is_file():
        lines += ["", f"#### {prefix}: metrics, and the difference from SlicerRT's", ""]
        with metrics_path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        columns = [c for c in rows[0] if c != "Structure"]
        lines += [
            "| structure | " + " | ".join(columns) + " |",
            "|" + "---|" * (len(columns) + 1),
        ]
        by_key = {key_of(name): values for name, values in sampled.items()}
        for row in rows:
            values = our_metrics(by_key[key_of(row["Structure"])], columns)
            cells = [
                f"{values[c]:.2f} ({100 * (values[c] / float(row[c]) - 1):+.2f} %)"
                for c in columns
            ]
            lines.append(f"| {row['Structure']} | " + " | ".join(cells) + " |")
        lines += ["", f"#### {prefix}: least and highest dose at SlicerRT's sample points", ""]
        lines += ["| structure | min, Gy | SlicerRT | max, Gy | SlicerRT |", "|" + "---|" * 5]
        by_key = {key_of(s.name): s.occupancy for s in structures}
        for row in rows:
            low, high = extremes(by_key[key_of(row["Structure"])], dose)
            lines.append(
                f"| {row['Structure']} | {low:.3f} | {float(row['Min dose (GY)']):.3f} "
                f"| {high:.3f} | {float(row['Max dose (GY)']):.3f} |"
            )
    lines += ["", *(f"Note: {note}." for note in notes)]
    lines.append(
        f"Time on one core: {read_s:.1f} s to read and rasterise, {sample_s:.2f} s to sample a "
        f"dose in all {len(ours)} structures ({sum(s.sample_count for s in samplers.values())} "
        "samples)."
    )
    return "\n".join(lines), ours, peers


def _peer_table(
    peer: str,
    curves: dict[str, Curve],
    ours: dict[str, Curve],
    peers: dict[str, dict[str, Curve]],
    highest_gy: float,
) -> list[str]:
    """Markdown rows of the agreement with one peer, SlicerRT's own beside ours."""
    rivals = {"ours": {key_of(name): curve for name, curve in ours.items()}}
    if peer != "SlicerRT" and "SlicerRT" in peers:
        rivals["SlicerRT"] = {key: curve.fine() for key, curve in peers["SlicerRT"].items()}
    header = ["structure", "ours, cc", f"{peer}, cc"]
    for who in rivals:
        header += [f"{who}: points met", "largest γ", "mean volume difference", "met as coded"]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    counts = {who: np.zeros(3) for who in rivals}  # met, met as coded, all
    for name, curve in ours.items():
        reference = curves[key_of(name)]
        row = [name, f"{curve.volume_cc:.2f}", f"{reference.volume_cc:.2f}"]
        for who, rival_curves in rivals.items():
            rival = rival_curves[key_of(name)]
            gamma = agreement(reference, rival, highest_gy)
            coded = agreement(reference, rival, highest_gy, reference.volume_cc)
            drawn = np.interp(reference.dose_gy, rival.dose_gy, rival.volume_percent)
            counts[who] += [(gamma <= 1).sum(), (coded <= 1).sum(), gamma.size]
            row += [
                f"{100 * (gamma <= 1).mean():.2f} %",
                f"{gamma.max():.2f}",
                f"{np.abs(drawn - reference.volume_percent).mean():.3f} %",
                f"{100 * (coded <= 1).mean():.2f} %",
            ]
        lines.append("| " + " | ".join(row) + " |")
    row = ["all points", "", ""]
    for met, coded, points in counts.values():
        row += [f"{100 * met / points:.2f} %", "", "", f"{100 * coded / points:.2f} %"]
    return [*lines, "| " + " | ".join(row) + " |"]


def draw(path: Path, ours: dict[str, Curve], peers: dict[str, dict[str, Curve]]) -> None:
    """Curves above, differences from every peer below."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        2, 1, figsize=(9, 7.5), sharex=True, height_ratios=(3, 2), layout="constrained"
    )
    styles = {"SlicerRT": "-", "Eclipse": ":"}
    for number, (name, curve) in enumerate(ours.items()):
        color = f"C{number}"
        axes[0].plot(curve.dose_gy, curve.volume_percent, color=color, label=name)
        for peer, style in styles.items():
            reference = peers[peer][key_of(name)]
            difference = (
                np.interp(reference.dose_gy, curve.dose_gy, curve.volume_percent)
                - reference.volume_percent
            )
            axes[1].plot(reference.dose_gy, difference, style, color=color, linewidth=1)
            if peer == "Eclipse":
                every = slice(None, None, max(1, reference.dose_gy.size // 45))
                axes[0].plot(
                    reference.dose_gy[every], reference.volume_percent[every], "o",
                    color=color, markersize=3, markerfacecolor="none",
                )  # fmt: skip
    axes[0].plot([], [], "o", color="0.3", markersize=3, markerfacecolor="none", label="Eclipse")
    for peer, style in styles.items():
        axes[1].plot([], [], style, color="0.3", label=f"ours - {peer}")
    axes[0].set(ylabel="volume / %", ylim=(0, 103), title="DVHs: ours (lines), Eclipse (circles)")
    axes[1].set(xlabel="dose / Gy", ylabel="difference / % of volume", ylim=(-1.5, 1.5))
    axes[1].axhspan(-1, 1, color="0.92", zorder=0)
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.legend(loc="lower left", fontsize=8, ncols=2)
    figure.savefig(path, dpi=130)


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    text, ours, peers = compare(arguments.folder)
    print(text)
    if arguments.figure:
        draw(arguments.figure, ours, peers)


if __name__ == "__main__":
    main()
