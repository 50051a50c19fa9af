"""Find out what a model can do by asking it."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from ...progress import CancelRequested, never
from .messages import LanguageModel, Message, ReplyError

COLOURS = {"red": (220, 0, 0), "blue": (0, 0, 220), "green": (0, 160, 0), "yellow": (255, 220, 0)}
#: The picture's halves; who cannot see it guesses both in one of sixteen cases.
LEFT, RIGHT = "yellow", "blue"
PICTURE_SIZE = 224  # what vision models commonly take for one tile
SCHEMA_WORDS = {"schema": "yes", "json": "no (plain JSON)", "prompt": "no (prompt only)"}


@dataclass(frozen=True)
class Abilities:
    """What a model was seen to do.

    Parameters
    ----------
    name : str
        Model and server.
    chat : bool
        Whether it gave a JSON object that could be read.
    schema : str
        "yes", or why the schema does not hold, in a few words.
    vision : bool or None
        None if it was not asked.
    vision_note : str
        What went wrong with the picture; "" if nothing.
    seconds : float
        How long the first question took.
    """

    name: str
    chat: bool
    schema: str
    vision: bool | None
    vision_note: str
    seconds: float

    def __str__(self) -> str:
        """One line for a person."""
        vision = {True: "yes", False: "no", None: "not asked (vision is set to no)"}[self.vision]
        note = f" ({self.vision_note})" if self.vision_note else ""
        chat = "yes" if self.chat else "no JSON came"
        return (
            f"{self.name}: chat {chat}, schema {self.schema}, vision {vision}{note}; "
            f"{self.seconds:.1f} s for the first answer"
        )


def check(model: LanguageModel, cancel_requested: CancelRequested = never) -> Abilities:
    """Ask a model for JSON by a schema, and for the colours of a picture.

    Raises
    ------
    ServerError, CancelledError
        As `LanguageModel.ask`.
    """
    # The prompt does not name the field: only who is given the schema can.
    question = "How many days has a week? Answer in JSON."
    schema = _schema({"days_of_the_week": {"type": "integer"}})
    try:
        reply = model.ask([Message("user", question)], schema, "week", cancel_requested)
    except ReplyError as error:
        return Abilities(model.name, False, "unknown", None, str(error), 0.0)
    schema_word = SCHEMA_WORDS[reply.how]
    if set(reply.value) != {"days_of_the_week"}:
        schema_word = "not kept"
    vision, note = None, ""
    if model.sees_pictures:
        vision, note = _vision(model, cancel_requested)
    return Abilities(model.name, True, schema_word, vision, note, reply.seconds)


def _vision(model: LanguageModel, cancel_requested: CancelRequested) -> tuple[bool, str]:
    """Whether the model names the picture's colours, and what it said if not."""
    names = list(COLOURS)
    colour = {"type": "string", "enum": names}
    question = (
        f"Which colour has the left half of the picture, which the right half? The colours are "
        f"{', '.join(names)}. Answer in JSON with the fields left and right."
    )
    picture = two_colour_png(COLOURS[LEFT], COLOURS[RIGHT])
    message = Message("user", question, (picture,))
    schema = _schema({"left": colour, "right": colour})
    try:
        reply = model.ask([message], schema, "colours", cancel_requested)
    except ReplyError as error:
        return False, str(error)
    if not reply.pictures:
        return False, "the server refuses pictures"
    said = [str(reply.value.get(side))[:20] for side in ("left", "right")]
    if [word.lower() for word in said] == [LEFT, RIGHT]:
        return True, ""
    return False, f"saw {' and '.join(said)} where {LEFT} and {RIGHT} were shown"


def _schema(properties: dict[str, dict]) -> dict:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def two_colour_png(left: tuple[int, int, int], right: tuple[int, int, int]) -> bytes:
    """A PNG file of `PICTURE_SIZE` squared pixels, its halves in two colours (RGB, 0 … 255)."""
    half = PICTURE_SIZE // 2
    # Each row begins with its filter, 0: none (PNG specification, 9.2).
    row = b"\0" + bytes(left) * half + bytes(right) * half
    header = struct.pack(">IIBBBBB", 2 * half, 2 * half, 8, 2, 0, 0, 0)  # 8 bit, RGB
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(row * 2 * half)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
