"""A person's verdict on a plan, bound to exactly what was looked at.

A review counts only as long as nothing has changed: the inputs of the session, the files of the
step, and which step is the current plan. After any change it is void, for good, even if the change
is taken back; its line stays in the audit log. Nothing in this package gives a verdict of itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from .errors import InputError
from .files import read_json, write_json
from .plan_history import CURRENT, history_of
from .session_folder import SessionFolder, file_digests

REVIEW = "review"
REVIEW_FILE = "review.json"
APPROVED, REJECTED = "approved", "rejected"
#: Files of a step that make up what a person looks at.
REVIEWED_FILES = ("fluence.npy", "objectives.json", "scorecard.json", "dvh.csv")


@dataclass(frozen=True)
class Review:
    """A verdict.

    Parameters
    ----------
    verdict : str
        ``approved`` or ``rejected``.
    name, comment : str
        Who gave it, and why.
    step : int
        The step whose plan it is about.
    digest : str
        See `plan_digest`.
    time : str
        UTC, ISO 8601.
    """

    verdict: str
    name: str
    comment: str
    step: int
    digest: str
    time: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class ReviewStatus:
    """The last review of a session, and why it does not count any more; empty if it does."""

    review: Review
    void: str

    @property
    def approved(self) -> bool:
        """Whether a person has approved the current plan as it is."""
        return not self.void and self.review.verdict == APPROVED

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return self.review.to_dict() | {"void": self.void}


def plan_digest(folder: SessionFolder, step: int) -> str:
    """SHA-256 over everything a review is about.

    Parameters
    ----------
    folder : SessionFolder
    step : int

    Returns
    -------
    str
        Of the digests of the session's inputs and of the step's files as they are on the disk, and
        of the constraints that the step keeps to.
    """
    files = file_digests(folder.step_path(step))
    missing = [name for name in REVIEWED_FILES if name not in files]
    if missing:
        raise InputError(f"{folder.step_path(step) / missing[0]}: is missing; put it back")
    reviewed: dict[str, Any] = {
        "inputs": folder.inputs(folder.read_session()),
        "step": step,
        "files": {name: files[name] for name in REVIEWED_FILES},
    }
    # Steps have had constraints for some versions only; without any, the digest is as before.
    constraints = read_json(folder.step_path(step) / "step.json").get("constraints")
    if constraints:
        reviewed["constraints"] = constraints
    return hashlib.sha256(json.dumps(reviewed, sort_keys=True).encode()).hexdigest()


def record_review(
    folder: SessionFolder,
    log: Callable[[str, dict], None],
    current: int,
    *,
    verdict: str,
    name: str,
    comment: str,
    step: int,
) -> Review:
    """Write down what a person decided.

    Parameters
    ----------
    folder : SessionFolder
    log : callable
        Writes a line of the session's audit log (`PlanningSession.log`).
    current : int
        Step of the current plan.
    verdict : str
        ``approved`` or ``rejected``.
    name, comment : str
        As the person entered them.
    step : int
        The step that the person looked at.

    Raises
    ------
    InputError
        If the verdict is no verdict, or another plan than the one looked at is current.
    """
    if verdict not in (APPROVED, REJECTED):
        raise InputError(f"verdict is {verdict!r}; it must be {APPROVED!r} or {REJECTED!r}")
    if step != current:
        raise InputError(
            f"step {step} is not the current plan, step {current} is; look at that one, or "
            "select the other first"
        )
    # What is reviewed must be what was planned: both checks name the file that is not.
    folder.check_inputs(folder.read_session())
    folder.read_step(step)
    review = Review(
        verdict,
        name,
        comment,
        step,
        plan_digest(folder, step),
        datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    # Without its line in the log the file counts for nothing.
    write_json(folder.path / REVIEW_FILE, review.to_dict())
    log(REVIEW, review.to_dict())
    return review


def review_status(folder: SessionFolder) -> ReviewStatus | None:
    """The last review that the audit log tells of, and whether it still counts."""
    entries = folder.read_log()
    place = max((i for i, e in enumerate(entries) if e["kind"] == REVIEW), default=None)
    if place is None:
        return None
    review = Review(**entries[place]["data"])
    return ReviewStatus(review, _why_void(folder, review, entries, place))


def _why_void(
    folder: SessionFolder,
    review: Review,
    entries: Sequence[Mapping],
    place: int,
) -> str:
    for entry in entries[place + 1 :]:
        data = entry["data"]
        if entry["kind"] == CURRENT or (entry["kind"] == "step" and data["kept"]):
            how = data.get("how", "a new step")
            step = data.get("step", data.get("index"))
            return f"the plan was changed after the review ({how}: step {step})"
    if history_of(entries).current != review.step:
        return f"step {review.step} is not the current plan"
    try:
        if read_json(folder.path / REVIEW_FILE) != review.to_dict():
            return f"{REVIEW_FILE} is not what the audit log says"
        folder.check_inputs(folder.read_session())
        if plan_digest(folder, review.step) != review.digest:
            return "files of the plan were changed after the review"
    except (InputError, OSError) as error:
        return f"what was reviewed cannot be found any more: {error}"
    return ""
