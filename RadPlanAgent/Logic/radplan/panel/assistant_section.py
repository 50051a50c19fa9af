"""Section 5: which language model is asked, what it may be told, what was said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt

from ..agent.llm.settings import ModelSettings
from ..errors import InputError
from .i18n import _
from .tables import show_note

#: Application setting that lists servers which the user has allowed; not kept in scenes, so that
#: a scene from elsewhere cannot allow anything.
ALLOWED = "RadPlanAgent/AllowRemoteHosts"


class AssistantSection:
    """Widgets of section 5 and what they say.

    Parameters
    ----------
    ui : object
        Widgets of Assistant.ui by name.
    changed : callable
        Called when anything was chosen.
    """

    def __init__(self, ui: Any, changed: Callable[[], None]) -> None:
        self.ui, self._changed = ui, changed
        self.problem = ""
        self._settings: ModelSettings | None = None
        ui.assistantNote.text = _(
            "Optional. A language model may propose changes; every number it is told is computed "
            "here, and its proposals pass the same checks as yours. Structure names, dose figures "
            "and pictures without patient identity are all that is ever sent."
        )
        show_note(ui.modelNote, "")
        ui.allowRemoteCheckBox.clicked.connect(lambda *_args: self._allow())
        ui.modelKeyEdit.textChanged.connect(lambda *_args: changed())
        self.show_sent("")

    def update(self, choices: Any) -> None:
        """Show the choices."""
        self._settings, self.problem = None, ""
        url = choices.modelUrl.strip() if choices else ""
        if not url:
            self.problem = _("Enter the address of a server (section Assistant)")
        else:
            try:
                self._settings = ModelSettings(url, choices.modelName.strip())
            except InputError as error:
                self.problem = str(error)
        box, settings = self.ui.allowRemoteCheckBox, self._settings
        remote = settings is not None and not settings.is_local
        box.visible = remote
        if remote:
            box.text = _("Plan data may be sent to {host}").format(host=settings.host)
            box.checked = settings.host in allowed_hosts()
            if not box.checked:
                text = _("{host} is not this computer; allow it in section Assistant")
                self.problem = text.format(host=settings.host)
        if not self.problem and not (choices and choices.modelName.strip()):
            self.problem = _("Enter the name of a model (section Assistant)")

    @property
    def is_complete(self) -> bool:
        """Whether server and model are named; it may be that nothing may be sent there yet."""
        return self._settings is not None and bool(self._settings.model)

    @property
    def key(self) -> str:
        """The key as entered."""
        return self.ui.modelKeyEdit.text

    def take_key(self) -> str:
        """The key as entered; the field is empty from now on."""
        key, self.ui.modelKeyEdit.text = self.key, ""
        return key

    def settings(self) -> dict:
        """What the worker needs to ask the model; no key."""
        settings = self._settings
        if settings is None:
            return {}
        allowed = [settings.host] if settings.host in allowed_hosts() else []
        return {"url": settings.url, "model": settings.model, "allow_remote": allowed}

    @property
    def host(self) -> str:
        """Host of the server."""
        return self._settings.host if self._settings else ""

    def _allow(self) -> None:
        hosts = set(allowed_hosts()) - {self.host}
        if self.ui.allowRemoteCheckBox.checked:
            hosts.add(self.host)
        qt.QSettings().setValue(ALLOWED, ",".join(sorted(hosts)))
        self._changed()

    def show_check(self, text: str) -> None:
        """What came of asking the server."""
        show_note(self.ui.modelNote, text)

    def show_sent(self, text: str) -> None:
        """What would be sent."""
        self.ui.sentText.plainText = text
        self.ui.sentText.visible = bool(text)

    def add_to_transcript(self, text: str) -> None:
        """One more line of what was said and done."""
        self.ui.transcriptText.appendPlainText(text)


def allowed_hosts() -> tuple[str, ...]:
    """Servers that the user of this computer has allowed."""
    value = qt.QSettings().value(ALLOWED) or ""
    return tuple(host for host in str(value).split(",") if host)
