"""What a person wants of the assistant: keep a key, check a model, show what it would be sent."""

from __future__ import annotations

from .assistant_section import AssistantSection
from .i18n import _
from .parameters import PlannerChoice
from .plan_requests import PlanRequests
from .planning_run import PlanningRun


class AssistantRequests:
    """Hands section 5's buttons to the run.

    Parameters
    ----------
    run : PlanningRun
    assistant : AssistantSection
    plans : PlanRequests
        Makes the first plan that a model would be told of.
    """

    def __init__(self, run: PlanningRun, assistant: AssistantSection, plans: PlanRequests) -> None:
        self._run, self._assistant, self._plans = run, assistant, plans

    def saveKey(self) -> None:
        """Put the key into the system's keyring."""
        key, good = self._assistant.take_key(), _("The key is in the keyring.")
        self._runKeyring("set", key, good)

    def forgetKey(self) -> None:
        """Take the key out of the system's keyring."""
        self._runKeyring("del", "", _("The key is forgotten."))

    def _runKeyring(self, do: str, entered: str, good: str) -> None:
        assistant = self._assistant
        arguments = (do, "radplan", assistant.host)
        self._run.host.runKeyring(arguments, entered, assistant.show_check, good)

    def checkModel(self) -> None:
        """Ask the server what it can do."""
        if self._run.offerPackages():
            assistant = self._assistant
            assistant.show_check(_("Asking {host}…").format(host=assistant.host))
            self._run.client.request(
                "check_llm",
                lambda answer: assistant.show_check(answer["line"]),
                lambda answer: assistant.show_check(answer["error"]),
                settings=assistant.settings(),
            )

    def previewSent(self) -> None:
        """Show what a language model would be sent, after a first plan if there is none yet."""
        if self._run.session.sentText():
            self.showSent()
        else:
            self._plans.plan(PlannerChoice.LLM, preview=True)

    def showSent(self) -> None:
        """Show what was found out of what a language model would be sent."""
        self._assistant.show_sent(self._run.session.sentText())
