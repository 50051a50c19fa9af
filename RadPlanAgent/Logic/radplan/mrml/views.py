"""What the user sees when the scene opens."""

from __future__ import annotations

import slicer

from ..geometry import Grid, Triple
from .geometry import ras_of

#: Share of the picture that is dose where dose lies over CT.
DOSE_OPACITY = 0.45
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
