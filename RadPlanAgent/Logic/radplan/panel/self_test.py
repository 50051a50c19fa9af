"""What the module's self test in Slicer checks."""

from __future__ import annotations

import unittest


def checkPhantomToCase(test: unittest.TestCase) -> None:
    """A phantom put into the scene is read back with the same structures and volumes."""
    from ..io.phantoms import make_phantom
    from ..mrml.read_case import case_from_scene
    from .sample_data import loadPhantom

    ct, segmentation = loadPhantom("prostate")
    case = case_from_scene(ct, segmentation, position="HFS")
    made = make_phantom("prostate")
    test.assertEqual(case.grid.shape, made.grid.shape)
    for structure in made.structures:
        found = case.structure(structure.name)
        # A labelmap keeps whole voxels, the phantom fractions of them.
        test.assertAlmostEqual(
            found.volume_cc, structure.volume_cc, delta=0.05 * structure.volume_cc + 0.3
        )
