"""What the user sees: volumes in the slice views, colour legends, and how a scene opens."""

from __future__ import annotations

from dataclasses import dataclass

import slicer
from vtkmodules.vtkCommonMath import vtkMatrix4x4

from ..geometry import Grid, Triple
from .geometry import ras_of

#: Share of the picture that is dose where dose lies over CT.
DOSE_OPACITY = 0.45
#: Of every legend: of isodoses, and of the dose.
LEGEND_TITLE = "Dose [Gy]"
#: Numbers beside a legend of the dose: every 20 % of the prescription (see `volumes`).
LEGEND_LABELS = 7
#: Part of the view's width that a legend of levels and one of numbers takes, which sets the size
#: of its text, and part of the height; and where: the lower right corner, which Slicer's own texts
#: leave free.
LEVELS_WIDTH, NUMBERS_WIDTH, LEGEND_HEIGHT = 0.2, 0.11, 0.5
LEGEND_POSITION = (0.97, 0.03)
#: A slice shows this much more than the region.
RIM = 1.1
#: Slice views are at least this much wider than high on the screens of today.
ASPECT = 1.2
#: Views: orientation, and the axes (x 0, y 1, z 2) that run across and up.
_SLICES = {"Red": ("Axial", (0, 1)), "Green": ("Coronal", (0, 2)), "Yellow": ("Sagittal", (1, 2))}


def layers_of(scene: slicer.vtkMRMLScene, view_name: str) -> slicer.vtkMRMLSliceCompositeNode:
    """The node that says which volumes a slice view shows; made here where no view did."""
    node = scene.GetSingletonNode(view_name, "vtkMRMLSliceCompositeNode")
    if node is None:
        node = slicer.vtkMRMLSliceCompositeNode()
        node.SetLayoutName(view_name)
        node = scene.AddNode(node)
    return node


@dataclass(frozen=True)
class Seen:
    """What part of the patient a slice view shows.

    Parameters
    ----------
    plane : vtkMatrix4x4
        From the slice to RAS mm.
    size_mm : tuple of float
        Across, up, and along the normal.
    """

    plane: vtkMatrix4x4
    size_mm: Triple


def seen_in(view: slicer.vtkMRMLSliceNode) -> Seen:
    """What a view shows now."""
    plane = vtkMatrix4x4()
    plane.DeepCopy(view.GetSliceToRAS())
    return Seen(plane, view.GetFieldOfView())


def show_in(view: slicer.vtkMRMLSliceNode, seen: Seen) -> None:
    """Show the same slice in another view, or again; of another shape, it keeps the height."""
    view.GetSliceToRAS().DeepCopy(seen.plane)
    width_px, height_px, _ = view.GetDimensions()
    height_mm = seen.size_mm[1]
    width_mm = height_mm * width_px / max(height_px, 1)  # a view may have no size yet
    view.SetFieldOfView(width_mm, height_mm, seen.size_mm[2])
    view.UpdateMatrices()


def show_legend(node: slicer.vtkMRMLDisplayableNode, visible: bool) -> None:
    """Show or hide Slicer's colour legend of a node; nothing where Slicer has no legends."""
    logic = getattr(slicer, "vtkSlicerColorLogic", None)
    known = node.GetScene().IsNodeClassRegistered("vtkMRMLColorLegendDisplayNode")
    if logic is None or not known:
        return
    legend = logic.GetColorLegendDisplayNode(node)
    if legend is None and visible:
        legend = logic.AddDefaultColorLegendDisplayNode(node)
        legend.SetTitleText(LEGEND_TITLE)
        legend.SetNumberOfLabels(LEGEND_LABELS)
        named = legend.GetUseColorNamesForLabels()
        legend.SetSize(LEVELS_WIDTH if named else NUMBERS_WIDTH, LEGEND_HEIGHT)
        legend.SetPosition(*LEGEND_POSITION)
        legend.SetVisibility3D(False)
    if legend is not None:
        legend.SetVisibility(visible)


def arrange_views(
    scene: slicer.vtkMRMLScene,
    *,
    ct: slicer.vtkMRMLScalarVolumeNode,
    dose: slicer.vtkMRMLScalarVolumeNode,
    chart: slicer.vtkMRMLPlotChartNode,
    table: slicer.vtkMRMLTableNode | None,
    region: Grid,
    center_mm: Triple,
) -> None:
    """Show dose over CT in three slices through a point, the DVH beside them, a table below.

    Parameters
    ----------
    ct, dose, chart, table : MRML nodes
        Background, foreground, and the contents of plot and table view.
    region : Grid
        The box that the slices must show.
    center_mm : tuple of float
        Where they meet, LPS (x, y, z).
    """
    layouts = slicer.vtkMRMLLayoutNode
    layout = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    layout.SetViewArrangement(
        layouts.SlicerLayoutFourUpPlotView
        if table is None
        else layouts.SlicerLayoutFourUpPlotTableView
    )
    size_mm = [s * n for s, n in zip(region.spacing_mm, region.shape[::-1], strict=True)]
    for name, (orientation, (across, up)) in _SLICES.items():
        view = scene.GetSingletonNode(name, "vtkMRMLSliceNode")
        view.SetOrientation(orientation)
        # A view keeps the height that it shows when it gets another size on the screen.
        height_mm = RIM * max(size_mm[up], size_mm[across] / ASPECT)
        width_px, height_px, _ = view.GetDimensions()
        view.SetFieldOfView(height_mm * width_px / height_px, height_mm, view.GetFieldOfView()[2])
        view.JumpSliceByCentering(*ras_of(center_mm))
        layers = layers_of(scene, name)
        layers.SetBackgroundVolumeID(ct.GetID())
        layers.SetForegroundVolumeID(dose.GetID())
        layers.SetForegroundOpacity(DOSE_OPACITY)
        layers.SetLinkedControl(True)
    selection = scene.GetFirstNodeByClass("vtkMRMLSelectionNode")
    selection.SetActiveVolumeID(ct.GetID())
    selection.SetSecondaryVolumeID(dose.GetID())
    selection.SetActivePlotChartID(chart.GetID())
    scene.GetSingletonNode("PlotView1", "vtkMRMLPlotViewNode").SetPlotChartNodeID(chart.GetID())
    if table is not None:
        selection.SetActiveTableID(table.GetID())
        scene.GetSingletonNode("TableView1", "vtkMRMLTableViewNode").SetTableNodeID(table.GetID())
