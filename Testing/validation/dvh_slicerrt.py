"""Compare our DVHs of finished plans with those that SlicerRT computes from the same scene file.

Run ``python Testing/validation/dvh_slicerrt.py SESSION …`` with session folders. SlicerRT's Dose
Volume Histogram module must be there: in desktop Slicer, or in the folder that $SLICERRT_MODULES
names (see ``Testing/slicerrt_standins.py``). It gets dose and segmentation of ``scene.mrb``, as
anybody who opens that file does, with its own default settings unless told. Prints Markdown.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import slicer
from dvh_eclipse import Curve, agreement, our_curve
from vtkmodules.util.numpy_support import vtk_to_numpy

from radplan.case_file import load_case
from radplan.io.nrrd import read_dose
from radplan.metrics import StructureDose
from radplan.mrml.runtime import headless_scene
from radplan.mrml.volumes import DOSE_VOLUME
from radplan.sampling import StructureSampler

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from slicerrt_standins import own_module

#: Dose metrics that are compared, in the words of SlicerRT's metrics table.
PERCENT, CC = (98, 95, 50, 2), (2, 0.03)


@dataclass(frozen=True)
class TheirDvh:
    """SlicerRT's histogram of a structure, and its metrics by the name of their column."""

    curve: Curve
    metrics: dict[str, float]


def slicerrt_object(library: str, name: str) -> object:
    """An object of a SlicerRT class."""
    return (getattr(slicer, name, None) or getattr(own_module(library), name))()


def slicerrt_dvhs(scene_file: Path, oversampling: float) -> dict[str, TheirDvh]:
    """SlicerRT's histograms of all segments of a scene file, in the first dose there."""
    with headless_scene() as scene, tempfile.TemporaryDirectory() as unpacked:
        segmentations = slicer.vtkSlicerSegmentationsModuleLogic()
        segmentations.SetMRMLScene(scene)
        module = "vtkSlicerDoseVolumeHistogramModule"
        logic = slicerrt_object(f"{module}Logic", f"{module}Logic")
        logic.SetMRMLScene(scene)
        logic.SetDefaultDoseVolumeOversamplingFactor(oversampling)
        cache, manager = slicer.vtkCacheManager(), slicer.vtkDataIOManager()
        cache.SetRemoteCacheDirectory(unpacked)
        manager.SetCacheManager(cache)
        scene.SetDataIOManager(manager)
        if not scene.ReadFromMRB(str(scene_file)):
            raise SystemExit(f"{scene_file} cannot be read")
        parameters = slicerrt_object(f"{module}MRML", "vtkMRMLDoseVolumeHistogramNode")
        scene.AddNode(parameters)
        volumes = scene.GetNodesByClass("vtkMRMLScalarVolumeNode")
        nodes = [volumes.GetItemAsObject(i) for i in range(volumes.GetNumberOfItems())]
        parameters.SetAndObserveDoseVolumeNode(
            next(node for node in nodes if node.GetAttribute(DOSE_VOLUME))
        )
        segmentation = scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
        parameters.SetAndObserveSegmentationNode(segmentation)
        if error := logic.ComputeDvh(parameters):
            raise SystemExit(f"{scene_file}: {error}")
        parameters.SetDVolumeValuesPercent(", ".join(map(str, PERCENT)))
        parameters.SetDVolumeValuesCc(", ".join(map(str, CC)))
        parameters.SetShowDMetrics(True)
        logic.ComputeDMetrics(parameters)
        found = _read_tables(parameters, segmentation.GetSegmentation())
        scene.SetDataIOManager(None)
        for used in (logic, segmentations):
            used.SetMRMLScene(None)
    return found


def _read_tables(parameters: object, segmentation: slicer.vtkSegmentation) -> dict[str, TheirDvh]:
    metrics_node = parameters.GetMetricsTableNode()
    metrics = metrics_node.GetTable()
    found = {}
    for number in range(segmentation.GetNumberOfSegments()):
        segment_id = segmentation.GetNthSegmentID(number)
        role = parameters.AssembleDvhNodeReference(segment_id)
        node = metrics_node.GetNodeReference(role)
        row = int(node.GetAttribute("DoseVolumeHistogram.TableRow"))
        numbers = {
            metrics.GetColumnName(c).split(" (")[0]: metrics.GetValue(row, c).ToDouble()
            for c in range(metrics.GetNumberOfColumns())
            if "(" in metrics.GetColumnName(c)  # a unit: the others are texts
        }
        columns = (vtk_to_numpy(node.GetTable().GetColumn(c)).copy() for c in range(2))
        name = segmentation.GetSegment(segment_id).GetName()
        found[name] = TheirDvh(Curve(*columns, numbers["Volume"]), numbers)
    return found


def our_metrics(sampled: StructureDose) -> dict[str, float]:
    """Mean and dose metrics by SlicerRT's names; those that need a larger structure are absent."""
    values = {"Mean dose": sampled.mean_gy}
    values |= {f"D{p}%": sampled.dose_at_volume_percent(p) for p in PERCENT}
    return values | {
        f"D{v:g}cc": sampled.dose_at_volume_cc(v) for v in CC if v < sampled.volume_cc
    }


def compare(folder: Path, oversampling: float) -> str:
    """Markdown table of a session."""
    case, dose = load_case(folder / "case.npz"), read_dose(folder / "dose.nrrd")
    highest = float(dose.dose_gy.max())
    names = ["Mean dose", *(f"D{p}%" for p in PERCENT), *(f"D{v:g}cc" for v in CC)]
    header = ["structure", "ours, cc", "SlicerRT, cc", "points met", "largest γ"]
    header += ["mean volume difference", *(f"{name}, Gy" for name in names)]
    lines = [f"#### {case.name}", "", "| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    met = total = 0
    for name, theirs in slicerrt_dvhs(folder / "scene.mrb", oversampling).items():
        sampled = StructureSampler(case.structure(name).occupancy, dose.grid).sample(dose.dose_gy)
        reference = theirs.curve
        gamma = agreement(reference, our_curve(sampled, highest), highest)
        met, total = met + (gamma <= 1).sum(), total + gamma.size
        difference = np.abs(sampled.dvh(reference.dose_gy) - reference.volume_percent).mean()
        ours = our_metrics(sampled)
        row = [name, f"{sampled.volume_cc:.2f}", f"{reference.volume_cc:.2f}"]
        row += [f"{100 * (gamma <= 1).mean():.2f} %", f"{gamma.max():.2f}", f"{difference:.3f} %"]
        row += [
            f"{ours[n]:.2f} ({ours[n] - theirs.metrics[n]:+.2f})" if n in ours else ""
            for n in names
        ]
        lines.append("| " + " | ".join(row) + " |")
    lines.append(f"| all points | | | {100 * met / total:.2f} % |" + " |" * (len(header) - 4))
    return "\n".join(lines)


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("session", type=Path, nargs="+")
    parser.add_argument(
        "--oversampling", type=float, default=2.0, help="of the dose grid, by SlicerRT (its: 2)"
    )
    arguments = parser.parse_args()
    for folder in arguments.session:
        print(compare(folder, arguments.oversampling), end="\n\n")


if __name__ == "__main__":
    main()
