"""``radplan dvh``: DVHs and metrics of any dose and structures, without a plan."""

from __future__ import annotations

from pathlib import Path

from .case import DoseImage, Structure
from .errors import InputError
from .metrics import (
    StructureDose,
    dvh_table,
    evaluate_metric,
    metric_note,
    parse_metric,
    write_dvh_csv,
)
from .sampling import StructureSampler


def read_dose_file(path: Path, frame_uid: str = "") -> DoseImage:
    """Read a dose from a DICOM RTDOSE (.dcm) or an image file.

    A DICOM dose in another frame of reference than `frame_uid` is refused, where both are known.
    """
    if _is_dicom(path):
        from .io.dicom_read import read_rtdose

        return read_rtdose(path, frame_uid)
    from .io.nrrd import read_dose

    return read_dose(path)


def _is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, whatever its name."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_structures_of(path: Path, dose: DoseImage) -> tuple[Structure, ...]:
    """Read structures from a segmentation, surfaces, or the case in a folder."""
    from .io.surfaces import read_structures

    return read_structures(path, dose.grid)


def dvh(dose_path: Path, structures_path: Path, out: Path, metrics: str) -> str:
    """Write the DVH table of every structure and return the metrics as a text table.

    Parameters
    ----------
    dose_path, structures_path : Path
    out : Path
        The CSV to write.
    metrics : str
        Metrics separated by commas; may be empty.
    """
    wanted = [parse_metric(text.strip()) for text in metrics.split(",") if text.strip()]
    for metric in wanted:
        if metric.kind in ("HI", "CI") or (metric.kind == "V" and metric.level_unit == "%"):
            raise InputError(
                f"metric {metric} needs a prescription; use radplan evaluate with a protocol"
            )
    dose = read_dose_file(dose_path)
    structure_doses: dict[str, StructureDose] = {}
    notes = []
    for structure in read_structures_of(structures_path, dose):
        try:
            sampler = StructureSampler(structure.occupancy, dose.grid)
        except InputError as error:
            raise InputError(f"{structures_path}: {structure.name}: {error}") from None
        if sampler.uncovered_fraction >= 1:
            raise InputError(
                f"{structures_path}: {structure.name} lies wholly outside the dose in "
                f"{dose_path}; are they of the same patient and frame of reference?"
            )
        sampled = structure_doses[structure.name] = sampler.sample(dose.dose_gy)
        notes += [f"{structure.name}: {n}" for m in wanted if (n := metric_note(m, sampled))]
    write_dvh_csv(out, *dvh_table(structure_doses))
    header = ["structure", "volume_cc", *(f"{m} [{m.default_unit}]" for m in wanted)]
    rows = [
        [
            name,
            f"{sampled.volume_cc:.3f}",
            *(f"{evaluate_metric(m, sampled, unit=m.default_unit):.3f}" for m in wanted),
        ]
        for name, sampled in structure_doses.items()
    ]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    table = [
        "  ".join(
            text.ljust(width) if i == 0 else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [header, *rows]
    ]
    return "\n".join([*table, *(f"note: {note}" for note in dict.fromkeys(notes))])
