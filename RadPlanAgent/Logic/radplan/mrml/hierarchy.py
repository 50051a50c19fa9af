"""The subject hierarchy: patient, study, and what belongs to the study.

In desktop Slicer, Qt plugins give every node an item; without them each is made by hand, which
is also right where an item exists already: it is then only moved.
"""

from __future__ import annotations

import slicer

DOSE_UNIT_NAME = "DicomRtImport.DoseUnitName"
DOSE_UNIT_VALUE = "DicomRtImport.DoseUnitValue"
#: As DICOM spells it: to SlicerRT's Isodose module "Gy" is an unknown unit.
GRAY = "GY"


def subject_hierarchy(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLSubjectHierarchyNode:
    """The scene's one subject hierarchy."""
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)


def add_study(scene: slicer.vtkMRMLScene, patient: str, study: str) -> int:
    """Add a patient with one study; the study's item.

    SlicerRT looks for the unit of doses on the study: voxel values times `DOSE_UNIT_VALUE` are in
    `DOSE_UNIT_NAME`. No attribute tells who the patient is.
    """
    hierarchy = subject_hierarchy(scene)
    patient_item = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), patient)
    item = hierarchy.CreateStudyItem(patient_item, study)
    hierarchy.SetItemAttribute(item, DOSE_UNIT_NAME, GRAY)
    hierarchy.SetItemAttribute(item, DOSE_UNIT_VALUE, "1.0")
    return item


def place(node: slicer.vtkMRMLNode, parent: int, *, expanded: bool = True) -> int:
    """Put a node under an item; the node's item."""
    hierarchy = subject_hierarchy(node.GetScene())
    item = hierarchy.CreateItem(parent, node)
    hierarchy.SetItemExpanded(item, expanded)
    return item


def study_of(node: slicer.vtkMRMLNode) -> int:
    """The study that a node is in, however deep in folders; 0 where it is in none."""
    hierarchy = subject_hierarchy(node.GetScene())
    item = hierarchy.GetItemByDataNode(node)
    level = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMLevelStudy()
    return hierarchy.GetItemAncestorAtLevel(item, level) if item else 0


def require_dose_unit(study: int, scene: slicer.vtkMRMLScene) -> None:
    """Make sure that SlicerRT finds a dose unit on a study; what an import wrote stays.

    SlicerRT's DICOM import writes unit and scaling of the doses that came with the study.
    """
    hierarchy = subject_hierarchy(scene)
    for name, value in ((DOSE_UNIT_NAME, GRAY), (DOSE_UNIT_VALUE, "1.0")):
        if not hierarchy.GetItemAttribute(study, name):
            hierarchy.SetItemAttribute(study, name, value)
