"""The plan on display in a user's scene: dose, isodose lines and DVH, of one step or of two.

Nodes are made once and filled anew for every step and every preview, so that the views keep what
the user set and a slider can be followed. What is there belongs to the scene: it is saved with it
and is what SlicerRT's modules take a dose and its histograms for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import slicer

from ..case import DoseImage
from ..geometry import Triple
from .dvh import CREATED_DVH_ROLE, METRICS_ROLE, SERIES_ROLE, Dvh, add_dvh_nodes
from .geometry import fill_image, ras_of
from .hierarchy import add_study, place, require_dose_unit, study_of
from .isodoses import add_isodoses, fill_isodoses
from .notes import RESEARCH_ONLY
from .tables import add_table, set_columns
from .views import DOSE_OPACITY, Seen, layers_of, seen_in, show_in, show_legend
from .volumes import ISODOSE_COLORS, add_dose_volume, show_above_threshold

SHOWN, COMPARED = "shown", "compared"
#: Attribute that tells which of the module's nodes a node is.
ROLE = "RadPlanAgent.Role"
#: Attribute with the session that a node shows.
SESSION = "RadPlanAgent.Session"
#: Attribute of a session's nodes that are no display, and stay when it is made anew.
KEPT = "RadPlanAgent.Kept"
_VIEWS = ("Red", "Green", "Yellow")
#: The view of a compared dose: below the first one in the layout that has the histograms, too.
_COMPARED_VIEW = "Green"


@dataclass(frozen=True)
class Anatomy:
    """What doses are shown on.

    Parameters
    ----------
    ct, segmentation : MRML nodes
    segment_ids : mapping
        Segment of every structure, by the structure's name.
    volumes_cc : mapping
        Volume of every structure.
    """

    ct: slicer.vtkMRMLScalarVolumeNode
    segmentation: slicer.vtkMRMLSegmentationNode
    segment_ids: Mapping[str, str]
    volumes_cc: Mapping[str, float]


@dataclass
class ShownPlan:
    """The display of one session's plans.

    Parameters
    ----------
    anatomy : Anatomy
    prescription_gy : float
        Dose that counts as 100 % in the colours.
    session : str
        Tells this session's nodes from others. What a scene that was saved and loaded has of the
        same session is replaced; nothing is when empty.
    """

    anatomy: Anatomy
    prescription_gy: float
    session: str = ""
    _doses: dict[str, slicer.vtkMRMLScalarVolumeNode] = field(default_factory=dict)
    _isodoses: dict[str, slicer.vtkMRMLModelNode] = field(default_factory=dict)
    _tables: dict[str, dict[str, slicer.vtkMRMLTableNode]] = field(default_factory=dict)
    _series: list[slicer.vtkMRMLPlotSeriesNode] = field(default_factory=list)
    _chart: slicer.vtkMRMLPlotChartNode | None = None
    _layout_before: int | None = None
    _seen_before: Seen | None = None
    _linked_before: bool = False
    _title: str = ""
    _remark: str = ""
    _lines_visible: bool = False
    _legend_visible: bool = False

    def __post_init__(self) -> None:
        if self.session:
            remove_display(self.scene, self.session)

    @property
    def scene(self) -> slicer.vtkMRMLScene:
        """The scene that is shown in."""
        return self.anatomy.ct.GetScene()

    @property
    def dose_node(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The dose on display."""
        return self._doses.get(SHOWN)

    def show_dose(self, dose: DoseImage, label: str) -> None:
        """Show the dose of a step, or of a preview of one.

        The first time, structures lose their fill in the slice views, which would hide the dose.
        """
        if self.dose_node is None and self.anatomy.segmentation.GetDisplayNode() is not None:
            self.anatomy.segmentation.GetDisplayNode().SetVisibility2DFill(False)
        node = self._fill_dose(SHOWN, dose, label)
        for name in _VIEWS:
            layers = layers_of(self.scene, name)
            if layers.GetForegroundVolumeID() != node.GetID():
                layers.SetBackgroundVolumeID(self.anatomy.ct.GetID())
                layers.SetForegroundVolumeID(node.GetID())
                layers.SetForegroundOpacity(DOSE_OPACITY)

    def show_dvh(self, curves: Dvh, structures: Mapping[str, Mapping], title: str) -> None:
        """Show the histograms of a step.

        Parameters
        ----------
        curves : Dvh
        structures : mapping
            Per structure ``mean_gy``, ``min_gy`` and ``max_gy``; may be empty.
        title : str
            Of the chart.
        """
        doses_gy, percents = self._known(curves)
        tables = self._tables.get(SHOWN)
        if tables is None or set(tables) != set(percents):
            self._remove_dvh()
            self._add_dvh((doses_gy, percents), structures)
        else:
            for name, percent in percents.items():
                set_columns(tables[name], {"Dose": doses_gy, "Volume": percent})
        self._title = title
        self._set_title()

    def compare(self, dose: DoseImage, curves: Dvh, label: str, remark: str = "") -> None:
        """Show another step: its dose in the green view, below the first; its histograms dashed.

        Parameters
        ----------
        dose, curves, label
            As of the step on display.
        remark : str
            What the chart's title says about the dashed curves, which its legend leaves out.
        """
        self._remark = remark
        node = self._fill_dose(COMPARED, dose, label)
        doses_gy, percents = self._known(curves)
        tables = self._tables.setdefault(COMPARED, {})
        for name, percent in percents.items():
            columns = {"Dose": doses_gy, "Volume": percent}
            if name in tables:
                set_columns(tables[name], columns)
            else:
                tables[name] = add_table(self.scene, f"{name}_compared_DvhTable", columns)
                self._add_dashed(name, tables[name])
        self._set_title()
        self._show_both(node)

    def end_comparison(self) -> None:
        """Show one step only."""
        self._remark = ""
        self._set_title()
        for series in self._series:
            if self._chart is not None:
                self._chart.RemovePlotSeriesNodeID(series.GetID())
            self.scene.RemoveNode(series)
        for table in self._tables.pop(COMPARED, {}).values():
            remove_with_companions(table)
        self._series.clear()
        self._remove_dose(COMPARED)
        layout = self.scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        if self._layout_before is not None and layout is not None:
            layout.SetViewArrangement(self._layout_before)
            view = self._view(_COMPARED_VIEW)
            if self._seen_before is not None and view is not None:
                show_in(view, self._seen_before)
            if self.dose_node is not None:
                layers = layers_of(self.scene, _COMPARED_VIEW)
                layers.SetForegroundVolumeID(self.dose_node.GetID())
            self._link(self._linked_before)
        self._layout_before = self._seen_before = None
        self._show_lines_in_views()

    def set_dose_visible(self, visible: bool) -> None:
        """Show or hide the dose over the CT."""
        for name in _VIEWS:
            layers_of(self.scene, name).SetForegroundOpacity(DOSE_OPACITY if visible else 0.0)

    def set_isodoses_visible(self, visible: bool) -> None:
        """Show or hide isodose lines."""
        if visible == self._lines_visible:
            return  # they follow their dose by themselves
        self._lines_visible = visible
        for role in self._doses:
            self._fill_isodoses(role)

    def set_legend_visible(self, visible: bool) -> None:
        """Show or hide what colours mean: Slicer's legend of the isodose lines, or of the dose."""
        self._legend_visible = visible
        self._show_legends()

    def show_chart(self) -> None:
        """Bring the histograms into view, beside the slices."""
        layout = self.scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        if layout is not None and self._layout_before is None:
            layout.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotView)
        self._put_chart_into_views()

    def hot_spot_mm(self) -> Triple | None:
        """Where the dose on display is highest, LPS mm."""
        node = self.dose_node
        if node is None:
            return None
        values = slicer.util.arrayFromVolume(node)
        k, j, i = np.unravel_index(int(values.argmax()), values.shape)
        point = node_point(node, (int(i), int(j), int(k)))
        return ras_of(point)

    def jump_to(self, point_mm: Triple) -> None:
        """Move all slices to an LPS point."""
        slicer.vtkMRMLSliceNode.JumpAllSlices(
            self.scene, *ras_of(point_mm), slicer.vtkMRMLSliceNode.CenteredJumpSlice
        )

    def _known(self, curves: Dvh) -> Dvh:
        """The curves of structures that have a segment."""
        doses_gy, percents = curves
        ids = self.anatomy.segment_ids
        return doses_gy, {name: p for name, p in percents.items() if name in ids}

    def study(self) -> int:
        """The item under which results belong: the CT's study, or a new one."""
        study = study_of(self.anatomy.ct)
        if not study:
            study = add_study(self.scene, "RadPlanAgent", f"Plan - {RESEARCH_ONLY}")
            place(self.anatomy.ct, study)
            place(self.anatomy.segmentation, study, expanded=False)
        require_dose_unit(study, self.scene)
        return study

    def _own(self, *nodes: slicer.vtkMRMLNode | None) -> None:
        """Mark nodes as this session's display."""
        for node in nodes:
            if node is not None and self.session:
                node.SetAttribute(SESSION, self.session)

    def _fill_dose(self, role: str, dose: DoseImage, label: str) -> slicer.vtkMRMLScalarVolumeNode:
        name = f"{label} - {RESEARCH_ONLY}"
        node = self._doses.get(role)
        if node is None or node.GetImageData().GetDimensions() != dose.grid.shape[::-1]:
            self._remove_dose(role)
            node = add_dose_volume(self.scene, name, dose, self.prescription_gy)
            node.SetAttribute(ROLE, role)
            self._own(node, node.GetDisplayNode().GetColorNode())
            self._own(node.GetNodeReference(ISODOSE_COLORS))
            place(node, self.study())
            self._doses[role] = node
        else:
            fill_image(node.GetImageData(), dose.dose_gy.astype(np.float32, copy=False))
            node.GetImageData().Modified()
            node.Modified()
            show_above_threshold(node, self.prescription_gy)
            node.SetName(name)
        self._fill_isodoses(role)
        return node

    def _remove_dose(self, role: str) -> None:
        node, lines = self._doses.pop(role, None), self._isodoses.pop(role, None)
        for shown in (node, lines):
            if shown is not None:
                colors = [shown.GetDisplayNode().GetColorNode()]
                colors.append(shown.GetNodeReference(ISODOSE_COLORS))
                for gone in (shown, *colors):
                    if gone is not None:
                        remove_with_companions(gone)

    def _fill_isodoses(self, role: str) -> None:
        """Make isodose lines follow their dose, while they are shown."""
        dose, lines = self._doses[role], self._isodoses.get(role)
        if self._lines_visible and lines is None:
            lines = self._isodoses[role] = add_isodoses(dose, self.prescription_gy)
            lines.SetAttribute(ROLE, role)
            self._own(lines, lines.GetDisplayNode().GetColorNode())
            place(lines, self.study())
            self._show_lines_in_views()
        elif self._lines_visible:
            fill_isodoses(lines, dose, self.prescription_gy)
        if lines is not None:
            lines.SetName(f"{dose.GetName()} isodoses")
            lines.GetDisplayNode().SetVisibility(self._lines_visible)
        self._show_legends()

    def _show_lines_in_views(self) -> None:
        """While two doses are shown, each has its own lines only."""
        for role, lines in self._isodoses.items():
            display = lines.GetDisplayNode()
            display.RemoveAllViewNodeIDs()
            for name in _VIEWS if COMPARED in self._doses else ():
                view = self._view(name)
                if view is not None and (name == _COMPARED_VIEW) is (role == COMPARED):
                    display.AddViewNodeID(view.GetID())

    def _show_legends(self) -> None:
        for role, dose in self._doses.items():
            lines = self._isodoses.get(role)
            show_legend(dose, self._legend_visible and not self._lines_visible)
            if lines is not None:
                show_legend(lines, self._legend_visible and self._lines_visible)

    def _set_title(self) -> None:
        if self._chart is not None:
            self._chart.SetTitle("; ".join(filter(None, (self._title, self._remark))))

    def _add_dvh(self, curves: Dvh, structures: Mapping[str, Mapping]) -> None:
        node = self.dose_node
        chart = add_dvh_nodes(
            node,
            self.anatomy.segmentation,
            curves,
            study=self.study(),
            title="",
            volumes_cc=self.anatomy.volumes_cc,
            structures=structures,
            segment_ids=self.anatomy.segment_ids,
        )
        chart.SetAttribute(ROLE, SHOWN)
        self._own(chart)
        self._chart, self._tables[SHOWN] = chart, {}
        for i in range(chart.GetNumberOfNodeReferences(SERIES_ROLE)):
            series = chart.GetNthNodeReference(SERIES_ROLE, i)
            table = series.GetTableNode()
            self._own(series, table, table.GetNodeReference(METRICS_ROLE))
            self._tables[SHOWN][series.GetName()] = table
        self._put_chart_into_views()

    def _remove_dvh(self) -> None:
        """Remove chart, series and tables, as a whole."""
        self.end_comparison()
        tables = self._tables.pop(SHOWN, {})
        if self._chart is not None:
            for i in reversed(range(self._chart.GetNumberOfNodeReferences(SERIES_ROLE))):
                self.scene.RemoveNode(self._chart.GetNthNodeReference(SERIES_ROLE, i))
            self.scene.RemoveNode(self._chart)
        for table in tables.values():
            metrics = table.GetNodeReference(METRICS_ROLE)
            if metrics is not None:
                self.scene.RemoveNode(metrics)
            self.scene.RemoveNode(table)
        self._chart = None
        for source in (self.dose_node, self.anatomy.segmentation):
            if source is not None:
                _forget_removed(source)

    def _add_dashed(self, name: str, table: slicer.vtkMRMLTableNode) -> None:
        series = self.scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode")
        # A legend with every structure twice would cover half of the chart; curves without a name
        # are not in it, and have the colours of those that are.
        series.SetName("")
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetXColumnName("Dose")
        series.SetYColumnName("Volume")
        series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
        series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
        series.SetLineStyle(slicer.vtkMRMLPlotSeriesNode.LineStyleDash)
        segment_id = self.anatomy.segment_ids[name]
        segment = self.anatomy.segmentation.GetSegmentation().GetSegment(segment_id)
        series.SetColor(*segment.GetColor())
        self._chart.AddAndObservePlotSeriesNodeID(series.GetID())
        self._own(series, table)
        self._series.append(series)

    def _put_chart_into_views(self) -> None:
        if self._chart is None:
            return
        selection = self.scene.GetFirstNodeByClass("vtkMRMLSelectionNode")
        if selection is not None:
            selection.SetActivePlotChartID(self._chart.GetID())
        view = self.scene.GetSingletonNode("PlotView1", "vtkMRMLPlotViewNode")
        if view is not None:
            view.SetPlotChartNodeID(self._chart.GetID())

    def _show_both(self, compared: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Both doses on the same slice, one below the other, with the histograms beside."""
        layout = self.scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        first, second = self._view(_VIEWS[0]), self._view(_COMPARED_VIEW)
        if self._layout_before is None and layout is not None:
            self._layout_before = layout.GetViewArrangement()
            self._linked_before = bool(layers_of(self.scene, _VIEWS[0]).GetLinkedControl())
            self._link(True)
            layout.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotView)
            if first is not None and second is not None:
                self._seen_before = seen_in(second)
                show_in(second, seen_in(first))
        layers = layers_of(self.scene, _COMPARED_VIEW)
        layers.SetBackgroundVolumeID(self.anatomy.ct.GetID())
        layers.SetForegroundVolumeID(compared.GetID())
        layers.SetForegroundOpacity(layers_of(self.scene, _VIEWS[0]).GetForegroundOpacity())
        self._show_lines_in_views()

    def _link(self, linked: bool) -> None:
        """Make the two axial slices move together, or not."""
        for name in (_VIEWS[0], _COMPARED_VIEW):
            layers_of(self.scene, name).SetLinkedControl(linked)

    def _view(self, name: str) -> slicer.vtkMRMLSliceNode | None:
        return self.scene.GetSingletonNode(name, "vtkMRMLSliceNode")


def remove_display(scene: slicer.vtkMRMLScene, session: str) -> None:
    """Remove what is in a scene of a session's display."""
    nodes = [scene.GetNthNode(i) for i in range(scene.GetNumberOfNodes())]
    for node in nodes:
        if node.GetAttribute(SESSION) == session and node.GetAttribute(KEPT) is None:
            remove_with_companions(node)
    found = scene.GetNodesByClass("vtkMRMLSegmentationNode")
    for index in range(found.GetNumberOfItems()):
        _forget_removed(found.GetItemAsObject(index))


def _forget_removed(source: slicer.vtkMRMLNode) -> None:
    """Drop references to histograms that are gone; those that SlicerRT made stay."""
    for n in reversed(range(source.GetNumberOfNodeReferences(CREATED_DVH_ROLE))):
        if source.GetNthNodeReference(CREATED_DVH_ROLE, n) is None:
            source.RemoveNthNodeReferenceID(CREATED_DVH_ROLE, n)


def remove_with_companions(node: slicer.vtkMRMLNode) -> None:
    """Remove a node, and what shows and stores it, which MRML leaves behind."""
    companions = []
    if node.IsA("vtkMRMLDisplayableNode"):
        companions += [node.GetNthDisplayNode(i) for i in range(node.GetNumberOfDisplayNodes())]
    if node.IsA("vtkMRMLStorableNode"):
        companions += [node.GetNthStorageNode(i) for i in range(node.GetNumberOfStorageNodes())]
    scene = node.GetScene()
    for gone in (node, *companions):
        if gone is not None and gone.GetScene() is not None:
            scene.RemoveNode(gone)


def node_point(node: slicer.vtkMRMLScalarVolumeNode, index: tuple[int, int, int]) -> Triple:
    """RAS of a voxel (i, j, k), with the transforms over its node."""
    from vtkmodules.vtkCommonMath import vtkMatrix4x4

    matrix, world = vtkMatrix4x4(), vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    if node.GetParentTransformNode() is not None:
        node.GetParentTransformNode().GetMatrixTransformToWorld(world)
    point = world.MultiplyPoint(matrix.MultiplyPoint((*index, 1.0)))
    return (point[0], point[1], point[2])
