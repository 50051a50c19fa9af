"""Make the library of reference plans from planning sessions.

    python Testing/validation/make_examples.py SESSIONS OPENKBP [--plan] [--only NAME …]

SESSIONS is a folder with one session folder for each name of `LIBRARY`; with --plan, those that
are missing are planned with the built-in rules planner, and interrupted ones continued. OPENKBP is
the folder of OpenKBP's train-pats. Files go to RadPlanAgent/Resources/Examples; the same sessions
give the same files, byte for byte.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from radplan.agent.example_file import save_example
from radplan.agent.example_making import make_example
from radplan.console import Console
from radplan.examples_command import situation_of
from radplan.planning import PlanRequest, plan, resume
from radplan.resources import resource_path
from radplan.session_folder import SessionFolder


@dataclass(frozen=True)
class Entry:
    """One plan of the library.

    Parameters
    ----------
    case : str
        What `radplan.io.load_case` takes; of OpenKBP the patient's folder.
    protocol : str
    source : str
        Where the anatomy is from, for people.
    iterations : int
        Planning steps after the first plan, at most.
    """

    case: str
    protocol: str
    source: str
    iterations: int


_OPENKBP = "OpenKBP train-pats {} (MIT licence, Babier 2021)"
_PHANTOM = "digital phantom of this project"
_TG119 = "TG-119 C-shape phantom (comes with pyRadPlan)"
LIBRARY = {
    "openkbp_pt_1": Entry("pt_1", "openkbp_hn_70_63_56", _OPENKBP.format("pt_1"), 8),
    "openkbp_pt_13": Entry("pt_13", "openkbp_hn_70_63_56", _OPENKBP.format("pt_13"), 8),
    "openkbp_pt_109": Entry("pt_109", "openkbp_hn_70_63_56", _OPENKBP.format("pt_109"), 8),
    "hn_70_56_52": Entry("phantom:head-neck", "hn_70_56_52", _PHANTOM, 15),
    "prostate_60_20": Entry("phantom:prostate", "prostate_60_20", _PHANTOM, 15),
    "prostate_70.2_26": Entry("phantom:prostate", "prostate_70.2_26", _PHANTOM, 12),
    "rectum_50.4_28": Entry("phantom:rectum", "rectum_50.4_28", _PHANTOM, 12),
    "rectum_25_5": Entry("phantom:rectum", "rectum_25_5", _PHANTOM, 5),
    "rectum_sib_50_55_25": Entry("phantom:rectum", "rectum_sib_50_55_25", _PHANTOM, 5),
    "tg119_easy": Entry("tg119", "tg119_cshape_easy", _TG119, 15),
    "tg119_hard": Entry("tg119", "tg119_cshape_hard", _TG119, 15),
}


def planned(name: str, entry: Entry, sessions: Path, openkbp: Path) -> None:
    """Plan a session that is missing, or finish one that was interrupted."""
    folder = SessionFolder(sessions / name)
    case = str(openkbp / entry.case) if entry.case.startswith("pt_") else entry.case
    with Console() as console:
        if not folder.session_path.is_file():
            request = PlanRequest(case, entry.protocol, folder.path, max_steps=entry.iterations)
            plan(request, console)
        elif folder.read_session()["state"] != "done":
            resume(folder.path, console, entry.iterations)


def made(name: str, entry: Entry, session: Path) -> Path:
    """Make one reference plan; the path of its file."""
    situation, content = situation_of(session)
    example = make_example(
        situation,
        name,
        origin="public",
        planner=content["planner"],
        version=content["versions"]["radplan"],
        source=entry.source,
    )
    print(f"{name}: {example.goals_met} of {example.goals_total} goals, {len(example.text)} chars")
    return save_example(resource_path("Examples"), example)


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sessions", type=Path)
    parser.add_argument("openkbp", type=Path)
    parser.add_argument("--plan", action="store_true", help="plan what is missing")
    parser.add_argument("--only", nargs="+", default=list(LIBRARY), choices=list(LIBRARY))
    options = parser.parse_args()
    for name in options.only:
        if options.plan:
            planned(name, LIBRARY[name], options.sessions, options.openkbp)
        if (options.sessions / name / "session.json").is_file():
            made(name, LIBRARY[name], options.sessions / name)
        else:
            print(f"{name}: there is no session of it in {options.sessions}; left out")


if __name__ == "__main__":
    main()
