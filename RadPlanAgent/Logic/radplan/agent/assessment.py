"""What an evaluator says about a plan: verdict, problems, directions of improvement.

An assessment is words about numbers that code computed. No verdict approves anything. All names
in it are structure tokens (`radplan.agent.tokens`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from ..errors import InputError
from ..scorecard import Scorecard, sorted_for_reading
from .checked import Checker, check_object, list_schema, object_schema, text_schema, word_schema

#: From good to bad. ``acceptable`` says that no goal is missed, and no more.
VERDICTS = ("acceptable", "improve", "unacceptable")
PROBLEM_KINDS = (
    "target underdosed",
    "target overdosed",
    "organ overdosed",
    "hot spot",
    "cold spot",
    "spill",
    "conformity",
    "other",
)
#: More problems and directions than this help nobody; the first count.
MOST_ITEMS = 8
LONGEST_TEXT = 500


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a plan: in which structure, of what kind, in words."""

    structure: str
    kind: str
    text: str


@dataclass(frozen=True)
class Assessment:
    """What an evaluator sees in a plan.

    Parameters
    ----------
    verdict : str
        One of `VERDICTS`.
    problems : tuple of Problem
        The most important first.
    directions : tuple of str
        What to improve, without numbers.
    author : str
        ``llm`` or ``rules``.
    notes : tuple of str
        What code corrected or dropped, and why.
    """

    verdict: str
    problems: tuple[Problem, ...]
    directions: tuple[str, ...]
    author: str
    notes: tuple[str, ...] = ()

    def noted(self, notes: Sequence[str]) -> Assessment:
        """The same with more notes, each once."""
        return replace(self, notes=tuple(dict.fromkeys((*self.notes, *notes))))

    def to_dict(self) -> dict:
        """Plain values for JSON."""
        values = asdict(self)
        return values | {
            "problems": list(values["problems"]),
            "directions": list(self.directions),
            "notes": list(self.notes),
        }


def assessment_from_dict(values: dict) -> Assessment:
    """Read back what `Assessment.to_dict` wrote; `InputError` if it is none."""
    try:
        return Assessment(
            values["verdict"],
            tuple(Problem(**p) for p in values["problems"]),
            tuple(values["directions"]),
            values["author"],
            tuple(values["notes"]),
        )
    except (KeyError, TypeError) as error:
        raise InputError(f"stored assessment is damaged ({error})") from None


#: What the DVH expert and the evaluator answer with.
ASSESSMENT_SCHEMA = object_schema(
    verdict=word_schema(VERDICTS),
    problems=list_schema(
        object_schema(
            structure=text_schema("structure name from the tables"),
            kind=word_schema(PROBLEM_KINDS),
            text=text_schema("one sentence"),
        ),
        "ranked, the most important first",
    ),
    directions=list_schema(
        text_schema("one qualitative direction of improvement"), "the most important first"
    ),
)


def read_assessment(value: dict, structures: Sequence[str], scorecard: Scorecard) -> Assessment:
    """Check a reply and make it an assessment.

    A verdict that is better than the scorecard allows is corrected, which a note tells.

    Parameters
    ----------
    value : dict
        The reply.
    structures : sequence of str
        Tokens that problems may name.
    scorecard : Scorecard

    Raises
    ------
    RejectedReplyError
        If the reply is not as `ASSESSMENT_SCHEMA` has it: what to repair.
    """
    with check_object(value) as reply:
        said = reply.text("verdict", LONGEST_TEXT).strip().lower()
        problems = [_read_problem(item, structures) for item in reply.objects("problems")]
        directions = reply.texts("directions", LONGEST_TEXT)
        approves = said.startswith("approv")
        if said not in VERDICTS and not approves:
            reply.problem(f'"verdict" must be one of {", ".join(VERDICTS)}')
    allowed = verdict_of(scorecard)
    notes = []
    verdict = said
    if approves:
        notes.append("the reply approves the plan: ignored, only a person can approve")
        verdict = allowed
    elif VERDICTS.index(said) < VERDICTS.index(allowed):
        notes.append(f'verdict "{said}" contradicts the scorecard: it is "{allowed}"')
        verdict = allowed
    elif said == "unacceptable" and scorecard.must_met:
        notes.append(f'verdict "{said}", though no must-goal is missed')
    return Assessment(
        verdict, tuple(problems[:MOST_ITEMS]), tuple(directions[:MOST_ITEMS]), "llm", tuple(notes)
    )


def _read_problem(item: Checker, structures: Sequence[str]) -> Problem:
    return Problem(
        item.word("structure", structures),
        item.word("kind", PROBLEM_KINDS),
        item.text("text", LONGEST_TEXT),
    )


def verdict_of(scorecard: Scorecard) -> str:
    """The best verdict that a scorecard allows."""
    if not scorecard.must_met:
        return "unacceptable"
    return "improve" if any(r.met is False for r in scorecard.goals) else "acceptable"


def assess_by_rules(scorecard: Scorecard, spots: Sequence[Problem] = ()) -> Assessment:
    """The assessment that code makes of a plan where no model does.

    Parameters
    ----------
    scorecard : Scorecard
    spots : sequence of Problem
        What is known of hot and cold spots and spill; they follow the missed goals.
    """
    targets = scorecard.protocol.prescription_gy
    problems = []
    for result in sorted_for_reading(scorecard):
        if result.met is not False:
            break
        goal = result.goal
        kind = "organ overdosed"
        if goal.structure in targets:
            kind = "target underdosed" if goal.op == ">=" else "target overdosed"
        if goal.metric.kind == "CI":
            kind = "conformity"
        achieved = f"{result.achieved:.3g} {goal.unit}".rstrip()
        problems.append(
            Problem(
                goal.structure,
                kind,
                f"{goal.label} (priority {goal.priority}) is missed: it is {achieved}",
            )
        )
    problems += spots
    directions = [_direction(p) for p in problems] or [
        "every goal is met: spare organs further without losing a goal"
    ]
    return Assessment(
        verdict_of(scorecard),
        tuple(problems[:MOST_ITEMS]),
        tuple(dict.fromkeys(directions))[:MOST_ITEMS],
        "rules",
    )


def _direction(problem: Problem) -> str:
    return {
        "target underdosed": f"raise the dose in {problem.structure} where it is lowest",
        "target overdosed": f"lower the highest doses in {problem.structure}",
        "organ overdosed": f"lower the dose in {problem.structure}",
        "hot spot": f"cool the hot spot in or near {problem.structure}",
        "cold spot": f"fill the cold spot in {problem.structure}",
        "spill": f"draw the dose closer around the targets, away from {problem.structure}",
        "conformity": f"draw the dose closer around {problem.structure}",
    }.get(problem.kind, f"improve {problem.structure}")
