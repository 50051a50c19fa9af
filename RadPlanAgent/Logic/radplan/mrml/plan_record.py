"""What a plan is, as nodes beside its dose: scorecard, objectives, and all of it as text.

They are made once per session and filled anew for every step, found by their attributes also in a
scene that was saved and loaded. The text is JSON and says in full what the tables show.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import slicer

from ..errors import InputError
from ..optimize import Objective
from .hierarchy import place
from .notes import RESEARCH_ONLY
from .scorecard_table import scorecard_columns
from .shown_plan import KEPT, ROLE, SESSION
from .tables import set_columns

SCORECARD, OBJECTIVES, RECORD = "scorecard", "objectives", "record"
#: What the text says it is.
FORMAT = "radplan plan 1"


@dataclass(frozen=True)
class PlanRecord:
    """The nodes of a session's plan."""

    scorecard: slicer.vtkMRMLTableNode
    objectives: slicer.vtkMRMLTableNode
    text: slicer.vtkMRMLTextNode


def store_plan(
    scene: slicer.vtkMRMLScene,
    parent: int,
    session: str,
    *,
    scorecard: Mapping,
    objectives: Sequence[Objective],
    facts: Mapping[str, str],
) -> PlanRecord:
    """Store a plan with the scene, in place of what was stored of its session.

    Parameters
    ----------
    scene : vtkMRMLScene
    parent : int
        Item of the subject hierarchy to put new nodes under: the study, or a SlicerRT plan.
    session : str
        Tells sessions apart; no path, which could tell who the patient is.
    scorecard : mapping
        As in ``scorecard.json``.
    objectives : sequence of Objective
    facts : mapping
        More about the plan, by name: engine, versions, scale factor.
    """
    step = scorecard["step"]
    title = f"step {step} - {RESEARCH_ONLY}"
    table = _node(scene, parent, session, SCORECARD, "vtkMRMLTableNode", f"Scorecard {title}")
    set_columns(table, scorecard_columns(scorecard))
    goals = _node(scene, parent, session, OBJECTIVES, "vtkMRMLTableNode", f"Objectives {title}")
    set_columns(goals, _objective_columns(objectives))
    text = _node(scene, parent, session, RECORD, "vtkMRMLTextNode", f"Plan {title}")
    text.SetForceCreateStorageNode(slicer.vtkMRMLTextNode.CreateStorageNodeAlways)
    document = {
        "format": FORMAT,
        "notice": RESEARCH_ONLY,
        "session": session,
        "step": step,
        "facts": dict(facts),
        "scorecard": dict(scorecard),
        "objectives": [objective.to_dict() for objective in objectives],
    }
    text.SetText(json.dumps(document, indent=1))
    return PlanRecord(table, goals, text)


def stored_plans(scene: slicer.vtkMRMLScene) -> tuple[dict, ...]:
    """What `store_plan` stored in a scene, one document per session.

    Raises
    ------
    InputError
        If a text was changed so that it cannot be read.
    """
    documents = []
    found = scene.GetNodesByClass("vtkMRMLTextNode")
    for index in range(found.GetNumberOfItems()):
        node = found.GetItemAsObject(index)
        if node.GetAttribute(ROLE) != RECORD:
            continue
        try:
            document = json.loads(node.GetText())
            if document["format"] != FORMAT:
                raise ValueError(f"its format is {document['format']!r}")
            document["objectives"] = tuple(Objective(**o) for o in document["objectives"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"text {node.GetName()!r} is no plan that can be read ({error}); remove it"
            ) from None
        documents.append(document)
    return tuple(documents)


def _node(
    scene: slicer.vtkMRMLScene, parent: int, session: str, role: str, kind: str, name: str
) -> slicer.vtkMRMLNode:
    """The session's node of a role, made where there is none."""
    found = scene.GetNodesByClass(kind)
    for index in range(found.GetNumberOfItems()):
        node = found.GetItemAsObject(index)
        if node.GetAttribute(ROLE) == role and node.GetAttribute(SESSION) == session:
            node.SetName(name)
            return node
    node = scene.AddNewNodeByClass(kind, name)
    node.SetAttribute(ROLE, role)
    node.SetAttribute(SESSION, session)
    node.SetAttribute(KEPT, "1")
    if kind == "vtkMRMLTableNode":
        node.SetLocked(True)
    place(node, parent)
    return node


def _objective_columns(objectives: Sequence[Objective]) -> dict[str, list]:
    def numbers(name: str) -> list[float]:
        values = [getattr(objective, name) for objective in objectives]
        return [np.nan if value is None else float(value) for value in values]

    return {
        "Structure": [o.structure for o in objectives],
        "Function": [o.function for o in objectives],
        "Dose (Gy)": numbers("dose_gy"),
        "Volume (%)": numbers("volume_percent"),
        "Exponent": numbers("exponent"),
        "Weight": numbers("weight"),
    }
