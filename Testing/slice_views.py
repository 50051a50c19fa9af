"""Slicer's slice and plot views rendered offscreen, to be looked at by tests and for the docs.

The pipeline of a slice view is Slicer's own (package ``slicer-core``): the slice logic reslices
and blends the volumes, displayable managers draw outlines, model cuts, markups, crosshair and
colour legend. Only the widget around them is stood in for: `SliceView` wires them as
``qMRMLSliceView`` and ``qMRMLSliceControllerWidget`` (``Libs/MRML/Widgets``) and CTK's
``vtkLightBoxRendererManager`` do. `PlotView` stands in for ``qMRMLPlotView``, which is a Qt widget
around VTK's chart: it hands the nodes' properties to the chart as that one does.

Not there: the widget's corner texts (module DataProbe), its orientation marker and ruler, which
are off by default, and the mouse.
"""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import slicer
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkCollection
from vtkmodules.vtkCommonMath import vtkMatrix4x4

#: What qMRMLSliceView, and the modules Colors, Markups and Segmentations, register.
SLICE_VIEW_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLScalarBarDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
)
#: The chart's paper in qMRMLPlotView.
PAPER_RGB = (255, 253, 246)


@functools.cache
def why_not() -> str:
    """Why nothing can be rendered here; empty if it can.

    Tried in a process of its own: a broken OpenGL ends the process that asks for it.
    """
    needs = "on Debian it needs libegl1 and libgl1, which bring Mesa along"
    try:
        tried = subprocess.run(
            [sys.executable, __file__], capture_output=True, text=True, timeout=120, check=False
        )
    except subprocess.TimeoutExpired:
        return f"rendering offscreen hangs; {needs}"
    if tried.returncode == 0:
        return ""
    last = re.sub(r"\x1b\[\d*m", "", (tried.stderr.strip().splitlines() or [""])[-1])
    said = last.rpartition("| ")[2]  # without VTK's time, thread and file
    return f"nothing can be rendered offscreen (exit code {tried.returncode}: {said}); {needs}"


def _new_window(size: tuple[int, int]):
    """A window that no screen shows: on Linux through EGL, which asks for no X server."""
    # What makes VTK's classes of text, 2D actors and charts known.
    import vtkmodules.vtkRenderingContextOpenGL2
    import vtkmodules.vtkRenderingFreeType  # noqa: F401

    if sys.platform == "linux":
        from vtkmodules.vtkRenderingOpenGL2 import vtkEGLRenderWindow as Window
    else:
        from vtkmodules.vtkRenderingCore import vtkRenderWindow as Window
    window = Window()
    window.SetOffScreenRendering(1)
    window.SetSize(*size)
    return window


def _pixels(window) -> np.ndarray:
    """What a window shows, uint8 RGB (row from the top, column, 3)."""
    from vtkmodules.vtkRenderingCore import vtkWindowToImageFilter

    window.Render()
    grab = vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.ReadFrontBufferOff()
    grab.Update()
    image = grab.GetOutput()
    width, height, _ = image.GetDimensions()
    values = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, 3)
    return values[::-1].copy()


class SliceView:
    """One of Slicer's slice views.

    Parameters
    ----------
    scene : vtkMRMLScene
    name : str
        Red, Green or Yellow.
    size : tuple of int
        Width and height in pixels.
    """

    def __init__(
        self, scene: slicer.vtkMRMLScene, name: str, size: tuple[int, int] = (400, 400)
    ) -> None:
        from vtkmodules.vtkRenderingCore import (
            vtkActor2D,
            vtkImageMapper,
            vtkRenderer,
            vtkRenderWindowInteractor,
        )

        self.size = size
        self.node = scene.GetSingletonNode(name, "vtkMRMLSliceNode")
        self._application = slicer.vtkMRMLApplicationLogic()
        self._application.SetMRMLScene(scene)
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(self._application)
        self.logic.SetMRMLScene(scene)
        self.logic.SetSliceNode(self.node)
        logics = vtkCollection()  # managers look for the logic of their node among these
        logics.AddItem(self.logic)
        self._application.SetSliceLogics(logics)

        self._window = _new_window(size)
        self._window.SetNumberOfLayers(2)
        renderer = vtkRenderer()
        renderer.GetActiveCamera()
        self._window.AddRenderer(renderer)
        # Without its Initialize, which would need a screen; managers only want one to be there.
        self._interactor = vtkRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        mapper = vtkImageMapper()
        mapper.SetColorWindow(255)
        mapper.SetColorLevel(127.5)
        actor = vtkActor2D()
        actor.SetMapper(mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        renderer.AddViewProp(actor)
        self._mapper, self._image = mapper, actor

        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(self._application)
        for manager in SLICE_VIEW_MANAGERS:
            if not factory.IsDisplayableManagerRegistered(manager):
                factory.RegisterDisplayableManager(manager)
        self._managers = factory.InstantiateDisplayableManagers(renderer)
        self.logic.ResizeSliceNode(*size)
        self._managers.SetMRMLDisplayableNode(self.node)

    def __enter__(self) -> SliceView:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """As when the application ends; the scene stays."""
        self._managers.SetMRMLDisplayableNode(None)
        self._mapper.RemoveAllInputs()
        self.logic.SetMRMLScene(None)
        self._application.SetMRMLScene(None)
        self._window.Finalize()

    def fit(self, zoom: float = 1.0) -> None:
        """Show all of the CT, as the view's own button does, or a part of it."""
        self.logic.FitSliceToBackground()
        across, up, along = self.node.GetFieldOfView()
        self.node.SetFieldOfView(across / zoom, up / zoom, along)

    def picture(self) -> np.ndarray:
        """What the view shows, uint8 RGB (row from the top, column, 3)."""
        connection = self.logic.GetImageDataConnection()
        self._image.SetVisibility(connection is not None)
        if connection is not None:
            self._mapper.SetInputConnection(connection)
        return _pixels(self._window)

    def pixel_of(self, point_mm: Sequence[float]) -> tuple[float, float]:
        """Row and column of an LPS point, of whatever slice; whole numbers are pixel centres."""
        matrix = vtkMatrix4x4()
        vtkMatrix4x4.Invert(self.node.GetXYToRAS(), matrix)
        x, y, z = point_mm
        column, up, _, _ = matrix.MultiplyPoint((-x, -y, z, 1.0))
        return self.size[1] - 1 - up, column

    def point_of(self, row: float, column: float) -> np.ndarray:
        """LPS point in the slice, of a pixel, mm."""
        ras = self.node.GetXYToRAS().MultiplyPoint((column, self.size[1] - 1 - row, 0.0, 1.0))
        return np.array([-ras[0], -ras[1], ras[2]])


def chart_picture(
    chart_node: slicer.vtkMRMLPlotChartNode, size: tuple[int, int] = (480, 400)
) -> np.ndarray:
    """What ``qMRMLPlotView`` shows of a chart of lines, drawn by this stand-in for it."""
    from vtkmodules.vtkChartsCore import vtkAxis, vtkChartXY, vtkPlotLine
    from vtkmodules.vtkCommonDataModel import vtkColor4ub
    from vtkmodules.vtkRenderingContext2D import vtkContextActor
    from vtkmodules.vtkRenderingCore import vtkRenderer

    window = _new_window(size)
    renderer, actor, chart = vtkRenderer(), vtkContextActor(), vtkChartXY()
    renderer.SetBackground(1.0, 1.0, 1.0)
    window.AddRenderer(renderer)
    renderer.AddViewProp(actor)
    actor.GetScene().SetRenderer(renderer)
    actor.GetScene().AddItem(chart)
    chart.GetBackgroundBrush().SetColor(vtkColor4ub(*PAPER_RGB, 255))
    for n in range(chart_node.GetNumberOfPlotSeriesNodes()):
        series = chart_node.GetNthPlotSeriesNode(n)
        line = vtkPlotLine()
        line.SetWidth(series.GetLineWidth())
        line.SetColorF(*series.GetColor())
        line.GetPen().SetOpacityF(series.GetOpacity())
        line.GetPen().SetLineType(series.GetLineStyle())  # the numbers of vtkPen
        line.SetMarkerStyle(series.GetMarkerStyle())
        table = series.GetTableNode().GetTable()
        line.SetInputData(table, series.GetXColumnName(), series.GetYColumnName())
        line.SetLabel(series.GetName())
        chart.AddPlot(line)
    chart.SetTitle(chart_node.GetTitle())
    chart.GetTitleProperties().SetFontSize(chart_node.GetTitleFontSize())
    chart.SetShowLegend(chart_node.GetLegendVisibility())
    chart.GetLegend().GetLabelProperties().SetFontSize(chart_node.GetLegendFontSize())
    for axis_id, title, automatic, extent in (
        (
            vtkAxis.BOTTOM,
            chart_node.GetXAxisTitle(),
            chart_node.GetXAxisRangeAuto(),
            chart_node.GetXAxisRange(),
        ),
        (
            vtkAxis.LEFT,
            chart_node.GetYAxisTitle(),
            chart_node.GetYAxisRangeAuto(),
            chart_node.GetYAxisRange(),
        ),
    ):
        axis = chart.GetAxis(axis_id)
        axis.SetTitle(title)
        if not automatic:
            axis.SetBehavior(vtkAxis.FIXED)
            axis.SetUnscaledRange(*extent)
        axis.SetGridVisible(chart_node.GetGridVisibility())
        axis.GetTitleProperties().SetFontSize(chart_node.GetAxisTitleFontSize())
        axis.GetTitleProperties().SetBold(False)
        axis.GetLabelProperties().SetFontSize(chart_node.GetAxisLabelFontSize())
    picture = _pixels(window)
    window.Finalize()
    return picture


def _try() -> None:
    """Render a white ball on red; an exception, or the end of the process, if that cannot be."""
    from vtkmodules.vtkFiltersSources import vtkSphereSource
    from vtkmodules.vtkRenderingCore import vtkActor, vtkPolyDataMapper, vtkRenderer

    window = _new_window((33, 33))
    renderer, actor, mapper, ball = (
        vtkRenderer(),
        vtkActor(),
        vtkPolyDataMapper(),
        vtkSphereSource(),
    )
    mapper.SetInputConnection(ball.GetOutputPort())
    actor.SetMapper(mapper)
    actor.GetProperty().LightingOff()
    renderer.AddActor(actor)
    renderer.SetBackground(1.0, 0.0, 0.0)
    window.AddRenderer(renderer)
    picture = _pixels(window)
    if tuple(picture[0, 0]) != (255, 0, 0) or tuple(picture[16, 16]) != (255, 255, 255):
        raise SystemExit("what was rendered is not what was asked for")


if __name__ == "__main__":
    _try()
