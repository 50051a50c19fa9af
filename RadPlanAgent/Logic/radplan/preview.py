"""What would be sent to a language model, written down for the person."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .files import written_by_rename

if TYPE_CHECKING:
    from .agent.llm.messages import Message


def write_preview(folder: Path, voices: Sequence[tuple[str, Sequence[Message]]]) -> Path:
    """Write ``preview.md`` and the pictures it names; the page's path.

    Parameters
    ----------
    folder : Path
    voices : sequence of (str, sequence of Message)
        Who would ask, and what.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for voice, messages in voices:
        parts.append(f"# {voice.capitalize()}\n")
        for message in messages:
            parts.append(f"**{message.role}**\n\n{message.text}\n")
            for number, png in enumerate(message.images, start=1):
                name = f"preview-{voice.replace(' ', '-')}-{number}.png"
                with written_by_rename(folder / name) as file:
                    file.write(png)
                parts.append(f"![picture {number}]({name})\n")
    path = folder / "preview.md"
    with written_by_rename(path) as file:
        file.write("\n".join(parts).encode("utf-8"))
    return path
