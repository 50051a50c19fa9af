"""What a plan looks like as MRML, the data model of 3D Slicer.

`scene.write_scene` writes a scene file in any Python that has the ``slicer-core`` package. The
functions that build nodes (``add_…``) take the scene they build in, so that a module in desktop
Slicer uses them on the scene that the user sees. RAS lives only here.
"""
