"""``radplan llm`` and ``examples``: the language model, and the plans that it is shown."""

from __future__ import annotations

import argparse

from .ending import BAD_INPUT, DONE
from .model_options import add_model_options, model_options
from .options import AddCommand


def add_llm(command: AddCommand) -> None:
    """Add ``llm``."""
    llm = command(
        "llm",
        _llm,
        "what the configured language model can do",
        "check: asks it small questions (chat, schema, vision) and prints one line. models: lists "
        "the models that the server has.",
    )
    llm.add_argument("what", choices=["check", "models"], help="what to find out")
    add_model_options(llm)


def _llm(options: argparse.Namespace) -> int:
    from ..agent.llm import load_settings
    from ..console import Console
    from ..llm_command import check_model, models_of

    settings = load_settings(model_options(options))
    with Console() as console:
        if options.what == "models":
            print("\n".join(models_of(settings, console.cancel_requested)))
            return DONE
        line, enough = check_model(settings, console.cancel_requested)
    print(line)
    return DONE if enough else BAD_INPUT


def add_examples(command: AddCommand) -> None:
    """Add ``examples``."""
    examples = command(
        "examples",
        _examples,
        "reference plans that a planning language model is shown",
        "list: all of them. show NAME: what a model reads. like DIR: which ones a session's case "
        "would get. add DIR: make one of a session's plan, for example one that you approve of; "
        "it holds names of a closed list and numbers, nothing else that a model is shown.",
    )
    examples.add_argument(
        "what",
        nargs="?",
        default="list",
        choices=["list", "show", "like", "add"],
        help="see above",
    )
    examples.add_argument(
        "item", nargs="?", default="", metavar="NAME_OR_DIR", help="reference plan, session folder"
    )
    examples.add_argument(
        "--name", default="", help="add: what to call the plan; a model is shown the name"
    )
    examples.add_argument(
        "--approved-by",
        default="",
        metavar="WHO",
        help="add: who approved the plan; a model is only told that somebody did",
    )
    examples.add_argument("--no-picture", action="store_true", help="add: leave the picture out")
    examples.add_argument(
        "--preview", action="store_true", help="add: print what a model would read, write nothing"
    )


def _examples(options: argparse.Namespace) -> int:
    from ..console import Console
    from ..examples_command import examples

    with Console() as console:
        print(
            examples(
                options.what,
                options.item,
                name=options.name,
                approved_by=options.approved_by,
                with_picture=not options.no_picture,
                preview=options.preview,
                progress=console.progress,
            )
        )
    return DONE
