"""Codes for segments: TG-263 names to the DICOM terminology that Slicer comes with.

Only what is certain is coded: organs whose TG-263 name has one counterpart in Slicer's
"Segmentation category and type - DICOM master list" (SNOMED CT). Targets, planning helpers and
everything else get Slicer's own default, tissue.
"""

from __future__ import annotations

from ..case import Structure, StructureType

_LIST = "Segmentation category and type - DICOM master list"
_ANATOMY = "SCT^123037004^Anatomical Structure"
_TISSUE = "SCT^85756007^Tissue"
_SIDES = {"L": "SCT^7771000^Left", "R": "SCT^24028007^Right"}

#: TG-263 root name: SNOMED CT code and meaning, as in Slicer's list.
_CODES = {
    "Anus": ("53505006", "Anus"),
    "Bladder": ("89837001", "Bladder"),
    "BrachialPlex": ("36582005", "Brachial plexus"),
    "Brain": ("12738006", "Brain"),
    "Brainstem": ("119238007", "Brain stem"),
    "Breast": ("76752008", "Breast"),
    "Colon_Sigmoid": ("60184004", "Sigmoid colon"),
    "Duodenum": ("38848004", "Duodenum"),
    "Ear_Internal": ("22945000", "Inner ear"),
    "Esophagus": ("32849002", "Esophagus"),
    "Eye": ("81745001", "Eye"),
    "Femur": ("71341001", "Femur"),
    "Glnd_Submand": ("54019009", "Submandibular gland"),
    "Glnd_Thyroid": ("69748006", "Thyroid"),
    "Heart": ("80891009", "Heart"),
    "Hippocampus": ("5366008", "Hippocampus"),
    "Kidney": ("64033007", "Kidney"),
    "Larynx": ("4596009", "Larynx"),
    "Lips": ("48477009", "Lip"),
    "Liver": ("10200004", "Liver"),
    "Lung": ("39607008", "Lung"),
    "Bone_Mandible": ("91609006", "Mandible"),
    "OpticChiasm": ("244453006", "Optic chiasm"),
    "Pancreas": ("15776009", "Pancreas"),
    "Parotid": ("45289007", "Parotid gland"),
    "Pharynx": ("54066008", "Pharynx"),
    "Pituitary": ("56329008", "Pituitary"),
    "Prostate": ("41216001", "Prostate"),
    "Rectum": ("34402009", "Rectum"),
    "SeminalVes": ("64739004", "Seminal Vesicle"),
    "SpinalCord": ("2748008", "Spinal cord"),
    "Spleen": ("78961009", "Spleen"),
    "Stomach": ("69695003", "Stomach"),
    "Trachea": ("44567001", "Trachea"),
}


def _entry(category: str, kind: str, modifier: str = "^^") -> str:
    """Slicer's serialised form: list, category, type, type modifier, and no anatomic region."""
    return f"{_LIST}~{category}~{kind}~{modifier}~Anatomic codes - DICOM master list~^^~^^"


def terminology_of(structure: Structure) -> str:
    """The terminology entry of a structure's segment."""
    if structure.type is StructureType.EXTERNAL:
        return _entry(_ANATOMY, "SCT^38266002^Entire body")
    root, _, side = structure.name.rpartition("_")
    if side not in _SIDES:
        root, side = structure.name, ""
    if structure.type is not StructureType.OAR or root not in _CODES:
        return _entry(_TISSUE, _TISSUE)
    code, meaning = _CODES[root]
    return _entry(_ANATOMY, f"SCT^{code}^{meaning}", _SIDES[side] if side else "^^")
