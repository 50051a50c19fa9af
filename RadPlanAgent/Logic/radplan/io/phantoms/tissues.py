"""Hounsfield units and colours shared by the phantoms."""

from __future__ import annotations

from ...case import StructureType

# Hounsfield units of common tissues at about 120 kV.
FAT, MUSCLE, SKIN, ORGAN, URINE, BLOOD = -100.0, 50.0, 10.0, 38.0, 5.0, 45.0
GAS, STOOL, CARTILAGE, MARROW = -900.0, 25.0, 90.0, -30.0
LUNG, BLOOD_CONTRAST = -820.0, 130.0
#: Targets end this far below the skin, where build-up makes their dose meaningless.
SKIN_CROP_MM = 4.0

TARGET, OAR, EXTERNAL = StructureType.TARGET, StructureType.OAR, StructureType.EXTERNAL
SKIN_TONE, RED, ORANGE, YELLOW = (230, 190, 160), (230, 30, 30), (255, 140, 60), (250, 220, 40)
BROWN, BLUE, GREEN, TEAL, PURPLE, PINK = (
    (150, 85, 40),
    (70, 130, 255),
    (60, 200, 90),
    (0, 160, 150),
    (160, 80, 200),
    (255, 150, 200),
)
