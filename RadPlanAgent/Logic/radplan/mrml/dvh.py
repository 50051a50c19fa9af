"""Dose-volume histograms as SlicerRT lays them out: a table and a plot series per structure.

Names, attributes and roles are those of SlicerRT's Dose Volume Histogram module, so that a
histogram which a user computes there for the same segment is told apart by its line style. The
module's own parameter node is SlicerRT's, and is not imitated.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import slicer

from ..errors import InputError
from .hierarchy import place
from .tables import add_table

_PREFIX = "DoseVolumeHistogram."
IS_DVH = _PREFIX + "DVH"
SEGMENT_ID = _PREFIX + "SegmentID"
TABLE_ROW = _PREFIX + "TableRow"
VOLUME_CC = _PREFIX + "Volume (cc)"
DOSE_VOLUME_ROLE = "doseVolumeRef"
SEGMENTATION_ROLE = "segmentationRef"
METRICS_ROLE = "dvhMetricsTableRef"
CREATED_DVH_ROLE = _PREFIX + "createdDvhArrayRef"
SERIES_ROLE = _PREFIX + "dvhPlotSeries"
#: The chart's dose axis ends this much beyond the end of the curves, so that the legend, which
#: Slicer puts into the upper right corner, hides no target's curve.
MARGIN = 1.4

#: Doses in Gy, and for every structure the volume in per cent that receives at least each dose.
Dvh = tuple[np.ndarray, Mapping[str, np.ndarray]]


def check_dvh(dvh: Dvh, structure_names: tuple[str, ...]) -> None:
    """Refuse curves that do not fit their doses or belong to no structure (`InputError`)."""
    doses_gy, curves = dvh
    if np.ndim(doses_gy) != 1 or len(doses_gy) < 2 or np.any(np.diff(doses_gy) <= 0):
        raise InputError("DVH doses must be at least two rising values")
    for name, percent in curves.items():
        if name not in structure_names:
            raise InputError(f"DVH of {name!r}, which is no structure of the case")
        if np.shape(percent) != np.shape(doses_gy):
            raise InputError(
                f"DVH of {name!r} has {np.size(percent)} volumes for {len(doses_gy)} doses"
            )


def _metrics_columns(
    names: list[str], volumes_cc: Mapping[str, float], structures: Mapping[str, Mapping]
) -> dict[str, list]:
    columns = {"Structure": names, "Volume (cc)": [volumes_cc[n] for n in names]}
    for title, key in (("Mean", "mean_gy"), ("Min", "min_gy"), ("Max", "max_gy")):
        values = [structures.get(n, {}).get(key) for n in names]
        if any(v is not None for v in values):
            columns[f"{title} dose (Gy)"] = [np.nan if v is None else v for v in values]
    return columns


def _add_series(
    table: slicer.vtkMRMLTableNode, segment: slicer.vtkSegment, name: str
) -> slicer.vtkMRMLPlotSeriesNode:
    series = table.GetScene().AddNewNodeByClass("vtkMRMLPlotSeriesNode", name)
    series.SetAttribute(IS_DVH, "1")
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName("Dose")
    series.SetYColumnName("Volume")
    series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
    series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
    series.SetLineStyle(slicer.vtkMRMLPlotSeriesNode.LineStyleSolid)
    series.SetColor(*segment.GetColor())
    return series


def _add_chart(
    scene: slicer.vtkMRMLScene, title: str, last_dose_gy: float
) -> slicer.vtkMRMLPlotChartNode:
    chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", "DvhChart")
    chart.SetTitle(title)
    chart.SetXAxisTitle("Dose [Gy]")
    chart.SetYAxisTitle("Fractional volume [%]")
    chart.SetXAxisRangeAuto(False)
    chart.SetXAxisRange(0.0, last_dose_gy * MARGIN)
    chart.SetYAxisRangeAuto(False)
    chart.SetYAxisRange(0.0, 101.0)
    chart.SetTitleFontSize(16)
    chart.SetLegendFontSize(12)
    chart.SetAxisTitleFontSize(12)
    chart.SetAxisLabelFontSize(10)
    return chart


def add_dvh_nodes(
    dose: slicer.vtkMRMLScalarVolumeNode,
    segmentation: slicer.vtkMRMLSegmentationNode,
    dvh: Dvh,
    *,
    study: int,
    title: str,
    volumes_cc: Mapping[str, float],
    structures: Mapping[str, Mapping],
    segment_ids: Mapping[str, str] | None = None,
) -> slicer.vtkMRMLPlotChartNode:
    """Add tables, plot series and chart of the histograms to the dose's scene.

    Parameters
    ----------
    dose, segmentation : MRML nodes
        What the histograms are of.
    dvh : Dvh
    study : int
        Item of the subject hierarchy to put them under.
    title : str
        Of the chart.
    volumes_cc : mapping
        Volume of every structure that has a curve.
    structures : mapping
        Per structure ``mean_gy``, ``min_gy`` and ``max_gy`` (the scorecard's ``structures``);
        what is absent is left out of the metrics table.
    segment_ids : mapping, optional
        Segment of every structure, where segments are not named like the structures.

    Returns
    -------
    vtkMRMLPlotChartNode
    """
    scene = dose.GetScene()
    doses_gy, curves = dvh
    segments, names = segmentation.GetSegmentation(), list(curves)
    metrics = add_table(scene, "DvhMetrics", _metrics_columns(names, volumes_cc, structures))
    metrics_item = place(metrics, study, expanded=False)
    chart = _add_chart(scene, title, float(doses_gy[-1]))
    chart_item = place(chart, study, expanded=False)
    for row, name in enumerate(names):
        segment_id = (segment_ids or {}).get(name) or segments.GetSegmentIdBySegmentName(name)
        columns = {"Dose": doses_gy, "Volume": curves[name]}
        table = add_table(scene, f"{segment_id}_DvhTable", columns)
        table.SetAttribute(IS_DVH, "1")
        table.SetAttribute(SEGMENT_ID, segment_id)
        table.SetAttribute(TABLE_ROW, str(row))
        table.SetAttribute(VOLUME_CC, f"{volumes_cc[name]:g}")
        table.SetNodeReferenceID(DOSE_VOLUME_ROLE, dose.GetID())
        table.SetNodeReferenceID(SEGMENTATION_ROLE, segmentation.GetID())
        table.SetNodeReferenceID(METRICS_ROLE, metrics.GetID())
        role = f"{_PREFIX}{dose.GetID()}_{segmentation.GetID()}_{segment_id}"
        metrics.SetNodeReferenceID(role, table.GetID())
        for source in (dose, segmentation):
            source.AddNodeReferenceID(CREATED_DVH_ROLE, table.GetID())
        place(table, metrics_item)
        series = _add_series(table, segments.GetSegment(segment_id), name)
        place(series, chart_item)
        chart.AddAndObserveNodeReferenceID(SERIES_ROLE, series.GetID())
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    return chart
