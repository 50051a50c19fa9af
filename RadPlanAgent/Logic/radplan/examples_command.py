"""``radplan examples``: the reference plans that a planning language model is shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from .agent.example import Example
from .agent.example_file import save_example
from .agent.example_making import make_example
from .agent.examples import choose_examples, find_example, list_examples, user_folder
from .agent.helpers import make_planning_structures, planned_organs
from .agent.trajectory import Situation
from .case_file import load_case
from .errors import InputError
from .evaluation import DoseEvaluator
from .optimize import StructureIndex
from .plan_history import history_of, with_undone
from .progress import ProgressReport, silent
from .protocol_file import protocol_from_dict
from .scorecard import scorecard_from_dict
from .session_folder import SessionFolder

SHOWN = 3


def examples(
    what: str,
    item: str = "",
    *,
    name: str = "",
    approved_by: str = "",
    with_picture: bool = True,
    preview: bool = False,
    progress: ProgressReport = silent,
) -> str:
    """Do what ``radplan examples`` was asked for.

    Parameters
    ----------
    what : str
        ``list``, ``show``, ``like`` or ``add``.
    item : str
        Name of a reference plan to show, else a session folder.
    name, approved_by, with_picture
        Of a plan that is added; see `radplan.agent.example_making.make_example`.
    preview : bool
        Whether a plan is shown instead of added.
    progress : ProgressReport, optional

    Returns
    -------
    str
        What to print.

    Raises
    ------
    InputError
        If the session or a reference plan cannot be used.
    """
    if what == "list":
        return _listed()
    if not item:
        missing = "the name of a reference plan" if what == "show" else "a session folder"
        raise InputError(f"radplan examples {what}: give {missing}")
    if what == "show":
        return _shown(find_example(item))
    situation, content = situation_of(Path(item), progress)
    if what == "like":
        choice = choose_examples(situation.case, situation.protocol, SHOWN)
        return "\n\n".join((*(_shown(e) for e in choice.examples), *choice.notes)) or "none"
    if not name:
        raise InputError("radplan examples add: give the plan a name with --name")
    example = make_example(
        situation,
        name,
        origin="own",
        planner=content["planner"],
        version=content.get("versions", {}).get("radplan", ""),
        approved_by=approved_by,
        with_picture=with_picture,
    )
    if preview:
        return _shown(example)
    if name.casefold() in [e.name.casefold() for e in list_examples()]:
        raise InputError(
            f"there is a reference plan {name} already; choose another --name, or remove its "
            f"files from {user_folder()} if it is your own"
        )
    return f"{_shown(example)}\n\nwritten: {save_example(user_folder(), example)}"


def situation_of(path: Path, progress: ProgressReport = silent) -> tuple[Situation, dict]:
    """The situation at the end of a finished session, and its session.json; no dose is computed.

    Raises
    ------
    InputError
        If there is no finished session, or its files do not agree.
    """
    from .io.nrrd import read_dose  # reading images is wanted by this function alone

    folder = SessionFolder(path)
    content = folder.read_session()
    if content["state"] != "done":
        raise InputError(
            f"{path}: the session is {content['state']}; finish it with radplan resume first"
        )
    folder.check_inputs(content)
    case = load_case(folder.case_path)
    protocol = protocol_from_dict(content["protocol"], str(folder.session_path))
    stored = folder.read_steps()
    current = history_of(folder.read_log()).current
    if current is None:
        raise InputError(f"{path}: the session has no plan")
    steps = [
        replace(item.step, scorecard=scorecard_from_dict(item.scorecard, protocol))
        for item in stored
    ]
    best = steps[current]
    dose = read_dose(path / "dose.nrrd")
    evaluator = DoseEvaluator(case, protocol, dose.grid, progress)
    doses = evaluator.structure_doses(dose.dose_gy)
    stored[best.index].check(evaluator.scorecard(doses, best.index))
    structures = make_planning_structures(case, protocol, dose.grid)
    return (
        Situation(
            protocol,
            planned_organs(case, structures),
            case.external.name,
            structures,
            with_undone(steps, best),
            best,
            case,
            dose,
            doses,
            StructureIndex(structures.occupancies),
        ),
        content,
    )


def _listed() -> str:
    rows = [("name", "site", "goals met", "prescription", "source")]
    for e in list_examples():
        doses = "/".join(f"{p.dose_gy:g}" for p in e.protocol.prescriptions)
        origin = e.source or ("your own" if e.origin == "own" else "")
        if e.approved_by:
            origin += f", approved by {e.approved_by}"
        rows.append(
            (
                e.name,
                e.site,
                f"{e.goals_met} of {e.goals_total}",
                f"{doses} Gy in {e.protocol.fractions}",
                origin,
            )
        )
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    table = (
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return "\n".join((*table, f"Your own plans: {user_folder()}"))


def _shown(example: Example) -> str:
    picture = f"{len(example.picture) / 1000:.0f} kB" if example.picture else "none"
    return f"{example.name} (picture: {picture})\n{example.text}"
