"""The module's panel in 3D Slicer, and the client of the worker process.

What a person sees is decided in plain Python (``mapping_rows``, ``objective_edits``, ``sliders``,
``goal_rows``, ``availability``), which needs no Qt; the ``…_section`` files put it into widgets.
Qt, CTK and Slicer's application are used in this package and in ``RadPlanAgent.py`` only.
"""
