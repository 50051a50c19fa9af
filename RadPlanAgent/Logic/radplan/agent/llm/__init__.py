"""Language models: the only door to ``openai`` and ``keyring``.

Any OpenAI-compatible server is asked through Chat Completions, the dialect that all of them speak.
`load_settings` reads which one, `open_model` gives what planner and evaluator ask.
"""

from .client import ServerModel, open_model
from .messages import LanguageModel, Message, Reply, ReplyError, ServerError, Usage
from .settings import ModelSettings, load_settings

__all__ = [
    "LanguageModel",
    "Message",
    "ModelSettings",
    "Reply",
    "ReplyError",
    "ServerError",
    "ServerModel",
    "Usage",
    "load_settings",
    "open_model",
]
