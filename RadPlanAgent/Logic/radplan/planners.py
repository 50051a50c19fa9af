"""The planners that there are, made ready for a session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from .agent.rules import RulesPlanner
from .agent.trajectory import Planner
from .audit import read_audit
from .errors import InputError
from .progress import CancelRequested
from .session import PlanningSession

if TYPE_CHECKING:
    from .agent.llm import LanguageModel, ModelSettings

#: Names of the planners, and who they are.
PLANNERS = {"rules": "built-in rules", "llm": "a language model, with the rules as reserve"}
#: Settings that another user's session folder must not bring along.
NOT_STORED = ("allow_remote",)
#: Makes the planner of a session.
MakePlanner = Callable[[PlanningSession], Planner]


@dataclass(frozen=True)
class LlmRequest:
    """Which language model plans, and how.

    Parameters
    ----------
    model : mapping
        Options of `radplan.agent.llm.load_settings`; what is missing comes from environment and
        settings file.
    planner : mapping
        Fields of `radplan.agent.llm_planner.LlmPlannerSettings`.
    """

    model: Mapping[str, Any] = field(default_factory=dict)
    planner: Mapping[str, Any] = field(default_factory=dict)


def planner_settings(name: str, llm: LlmRequest) -> dict[str, Any]:
    """What session.json says about a planner, complete and without a secret.

    Raises
    ------
    InputError
        If there is no such planner, or a setting is wrong.
    """
    if name not in PLANNERS:
        raise InputError(f"planner {name!r} is not available; there are {', '.join(PLANNERS)}")
    if name == "rules":
        return {}
    from .agent.llm import load_settings
    from .agent.llm_planner import LlmPlannerSettings

    model = asdict(load_settings(llm.model))
    planner = asdict(LlmPlannerSettings(**llm.planner))
    return {
        "llm": {"model": {k: v for k, v in model.items() if k not in NOT_STORED}}
        | {"planner": planner}
    }


def planner_maker(
    name: str,
    settings: Mapping[str, Any],
    cancel_requested: CancelRequested,
    allow_remote: tuple[str, ...] = (),
    preview: bool = False,
) -> MakePlanner:
    """Get a planner ready before anything long begins.

    Parameters
    ----------
    name : str
        A key of `PLANNERS`.
    settings : mapping
        As `planner_settings` gives them.
    cancel_requested : callable
    allow_remote : tuple of str
        Hosts other than this machine that the user lets be sent anything.
    preview : bool
        Whether nothing must be sent.

    Raises
    ------
    InputError
        If the model's settings or key are wrong, or its host is not allowed.
    """
    if name == "rules":
        return lambda session: RulesPlanner()
    from .agent.llm import ModelSettings, load_settings, open_model

    stored = settings["llm"]
    # Only who runs this may open a door to another machine, not who made the session folder.
    allowed = load_settings({"url": stored["model"]["url"], "allow_remote": list(allow_remote)})
    try:
        model_settings = ModelSettings(
            **(stored["model"] | {"allow_remote": allowed.allow_remote})
        )
    except TypeError as error:
        raise InputError(f"settings of the language model in session.json: {error}") from None
    model = _Unasked(model_settings) if preview else open_model(model_settings)
    return lambda session: llm_planner(
        session,
        model,
        stored["planner"],
        cancel_requested,
        (model_settings.prompt_price or 0.0, model_settings.completion_price or 0.0),
    )


def llm_planner(
    session: PlanningSession,
    model: LanguageModel,
    settings: Mapping[str, Any],
    cancel_requested: CancelRequested,
    prices: tuple[float, float] = (0.0, 0.0),
) -> Planner:
    """A planner that asks a model, and goes on counting what the session has spent."""
    from .agent.examples import similar_examples
    from .agent.exchange import Exchanges, spent_in
    from .agent.llm_planner import LlmPlanner, LlmPlannerSettings, Prices

    folder = session.folder
    exchanges = Exchanges(
        model, session.log, folder.llm_path, spent_in(read_audit(folder.audit_path))
    )
    return LlmPlanner(
        exchanges,
        session.log,
        lambda proposals: session.try_out(proposals, cancel_requested=cancel_requested),
        similar_examples,
        LlmPlannerSettings(**settings),
        Prices(*prices),
        cancel_requested,
    )


class _Unasked:
    """A model for a preview: it is told nothing and answers nothing."""

    def __init__(self, settings: ModelSettings) -> None:
        self.name = settings.name
        self.sees_pictures = settings.vision != "no"

    def ask(self, *_: object, **__: object) -> None:
        """Refuse."""
        raise AssertionError("a preview sends nothing")
