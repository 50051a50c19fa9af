"""Sample data: the phantoms that are made on the spot, so that nothing is downloaded."""

from __future__ import annotations

import os

from .i18n import _

#: Phantom, title and thumbnail.
PHANTOMS = (
    ("prostate", "ProstatePhantom"),
    ("head-neck", "HeadNeckPhantom"),
    ("rectum", "RectumPhantom"),
)


def registerSampleData(iconsFolder: str) -> None:
    """Offer the phantoms in Slicer's Sample Data module.

    Parameters
    ----------
    iconsFolder : str
        Folder of the thumbnails.
    """
    import SampleData

    logic = SampleData.SampleDataLogic
    if hasattr(logic, "registerCustomSampleDataCategory"):  # not in Slicer 5.10
        logic.registerCustomSampleDataCategory("RadPlanAgent", _("RadPlan Agent"))
    for name, title in PHANTOMS:
        logic.registerCustomSampleDataSource(
            category="RadPlanAgent",
            sampleName=title,
            uris="",  # Sample Data counts them against the names, also where nothing is downloaded
            fileNames="",
            nodeNames=title,
            thumbnailFileName=os.path.join(iconsFolder, f"{title}.png"),
            customDownloader=lambda source, name=name: loadPhantom(name),
        )


def loadPhantom(name: str) -> list:
    """Put a phantom into the scene; its CT and segmentation nodes.

    Parameters
    ----------
    name : str
        As after ``phantom:`` on the command line.
    """
    import slicer

    from ..io.phantoms import make_phantom
    from ..mrml.plan import add_case

    nodes = add_case(slicer.mrmlScene, make_phantom(name))
    return [nodes.ct, nodes.segmentation]
