"""``radplan evaluate``: the scorecard of any dose, for example a clinical one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from .case_checks import bind
from .dvh_command import read_dose_file
from .errors import InputError
from .evaluation import DoseEvaluator
from .files import write_json
from .io import load_case
from .progress import ProgressReport, silent
from .protocol_file import load_protocol
from .scorecard import Scorecard


def evaluate(
    case_name: str,
    dose_name: str,
    protocol_name: str,
    normalize: bool,
    out: Path | None,
    progress: ProgressReport = silent,
) -> Scorecard:
    """Hold a dose against a protocol.

    Parameters
    ----------
    case_name : str
        What `radplan.io.load_case` takes.
    dose_name : str
        A dose file, or ``imported`` for the dose that came with the case.
    protocol_name : str
    normalize : bool
        Whether the dose is first scaled so that the primary target's coverage is as prescribed.
    out : Path, optional
        Where to write scorecard.json.
    progress : ProgressReport, optional

    Raises
    ------
    InputError
        If anything given is wrong, or the dose leaves out part of a target.
    """
    protocol = load_protocol(protocol_name)
    case, binding = bind(load_case(case_name, progress), protocol)
    protocol = binding.protocol
    if dose_name == "imported":
        if case.imported_plan is None or case.imported_plan.dose is None:
            raise InputError(f"case {case_name} came without a dose; name a dose file")
        dose = case.imported_plan.dose
    else:
        dose = read_dose_file(Path(dose_name), case.frame_of_reference_uid)
    evaluator = DoseEvaluator(case, protocol, dose.grid, progress)
    try:
        evaluator.require_target_dose()
    except InputError as error:
        raise InputError(f"dose {dose_name}: {error}") from None
    if normalize:
        covered_gy = evaluator.coverage_gy(dose.dose_gy)
        if covered_gy <= 0:
            raise InputError(f"{protocol.primary.target} gets no dose, so it cannot be normalised")
        dose = replace(dose, dose_gy=dose.dose_gy * (protocol.primary.dose_gy / covered_gy))
    scorecard = evaluator.scorecard(evaluator.structure_doses(dose.dose_gy), step=0)
    if out is not None:
        write_json(out, scorecard.to_dict())
    return scorecard
