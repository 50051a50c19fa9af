"""Names that a language model may see, one-to-one with the names of the case.

A structure's name can be free text from DICOM: it may hold a patient's name, or an instruction to
whoever reads it. So no name goes out as it is found. What goes out is a *token*: the TG-263 name
where the name has one meaning, else its type and a number. TG-263 names are a closed list and a
grammar (`radplan.naming`), so nothing of a free text is left in a token.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache, partial

from ..case import Case, StructureType
from ..errors import InputError
from ..metrics import parse_metric
from ..naming import map_name
from ..optimize import OBJECTIVE_FUNCTIONS, Objective
from ..protocol import ClinicalGoal, Protocol
from ..protocol_file import list_protocols, load_protocol
from .helpers import RINGS, core_name, overlap_free_name, ring_name, shell_name

#: Tokens of names that must not go out.
_NUMBERED = re.compile(rf"(?:{'|'.join(t.value for t in StructureType)}|ABSENT)_\d{{1,4}}")
#: What the id of an objective may add to its structure and function.
_KNOWN_QUALIFIERS = frozenset(("hot spot",))
#: How the tokens of objectives end that keep hot spots down.
HOT_SPOT = "/hot_spot"


class _OneToOne:
    """Names and tokens of one kind; tokens differ in more than case."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._tokens: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def add(self, name: str, token: str) -> None:
        self._tokens[name] = token
        self._names[token.casefold()] = name

    def is_free(self, token: str) -> bool:
        return token.casefold() not in self._names

    def __contains__(self, name: object) -> bool:
        return name in self._tokens

    def items(self) -> tuple[tuple[str, str], ...]:
        """All pairs of name and token."""
        return tuple(self._tokens.items())

    def token(self, name: str) -> str:
        """The token of a name."""
        try:
            return self._tokens[name]
        except KeyError:
            raise InputError(f"there is no token for {self._kind} {name!r}") from None

    def name(self, token: str) -> str:
        """The name behind a token, however its letters are cased and whatever surrounds it."""
        try:
            return self._names[str(token).strip().casefold()]
        except KeyError:
            known = ", ".join(self._tokens.values())
            raise InputError(
                f"there is no {self._kind} {str(token)[:80]!r}; there are {known}"
            ) from None


class StructureTokens:
    """Tokens of all structures that a prompt can speak of.

    The same case, protocol and helpers always get the same tokens. A structure's token does not
    depend on the protocol.

    Parameters
    ----------
    types : mapping of str to StructureType
        Type of every structure of the case by name, in the case's order.
    protocol_names : iterable of str, optional
        Structures that the protocol names, also those that the case lacks.
    helpers : iterable of str, optional
        Helper structures (`radplan.agent.helpers`); each gets the helper's name of its parent's
        token.
    """

    def __init__(
        self,
        types: Mapping[str, StructureType],
        protocol_names: Iterable[str] = (),
        helpers: Iterable[str] = (),
    ) -> None:
        self._pairs = _OneToOne("structure")
        self._numbers: dict[str, int] = {}
        self._add(types)
        self._add({name: None for name in protocol_names if name not in types})
        made_from = {
            make(name): make(token)
            for name, token in self._pairs.items()
            for make in _HELPER_NAMES
        }
        for helper in helpers:
            if helper not in self._pairs:
                token = made_from.get(helper)
                usable = token is not None and self._pairs.is_free(token)
                self._pairs.add(helper, token if usable else self._numbered("HELPER"))

    @classmethod
    def of(
        cls, case: Case, protocol: Protocol | None = None, helpers: Iterable[str] = ()
    ) -> StructureTokens:
        """Tokens of a case, a protocol in its names, and its helpers."""
        types = {s.name: s.type for s in case.structures}
        return cls(types, protocol.structures if protocol else (), helpers)

    def token(self, name: str) -> str:
        """The token of a structure; `InputError` if it is unknown."""
        return self._pairs.token(name)

    def name(self, token: str) -> str:
        """The structure of a token, in any case; `InputError` naming all tokens otherwise."""
        return self._pairs.name(token)

    def __contains__(self, name: object) -> bool:
        return name in self._pairs

    @property
    def all(self) -> tuple[str, ...]:
        """All tokens: structures, then structures that only the protocol names, then helpers."""
        return tuple(token for _, token in self._pairs.items())

    def hide(self, text: str) -> str:
        """A text of this program (outcome of a step …) with tokens in place of names."""
        return _replaced(text, dict(self._pairs.items()))

    def reveal(self, text: str) -> str:
        """A text of a language model with names in place of tokens, for the person."""
        return _replaced(text, {token: name for name, token in self._pairs.items()})

    def _add(self, types: Mapping[str, StructureType | None]) -> None:
        """Give tokens to names: first to those that are known, so that they keep their own."""
        tokens: dict[str, str] = {}
        for wanted in (_own_name, _standard_name):
            for name in types:
                token = None if name in tokens else wanted(name)
                taken = {t.casefold() for t in tokens.values()}
                if token is not None and token.casefold() not in taken:
                    if self._pairs.is_free(token):
                        tokens[name] = token
        for name, kind in types.items():
            if name not in tokens:
                tokens[name] = self._numbered(kind.value if kind is not None else "ABSENT")
            self._pairs.add(name, tokens[name])

    def _numbered(self, kind: str) -> str:
        self._numbers[kind] = self._numbers.get(kind, 0) + 1
        return f"{kind}_{self._numbers[kind]}"


_HELPER_NAMES = (
    overlap_free_name,
    core_name,
    shell_name,
    *(partial(ring_name, number) for number in range(1, len(RINGS) + 1)),
)


def is_token(text: str) -> bool:
    """Whether a text could be a structure's token: nothing of a free text is in it then."""
    if _own_name(text) is not None or _NUMBERED.fullmatch(text):
        return True
    for make in _HELPER_NAMES:
        start, _, end = make("|").partition("|")
        if text.startswith(start) and text.endswith(end) and len(text) > len(start + end):
            inner = text[len(start) : len(text) - len(end)]
            if _own_name(inner) is not None or _NUMBERED.fullmatch(inner):
                return True
    return False


@cache
def _shipped_names() -> frozenset[str]:
    """Structures of the protocols that come with the program."""
    return frozenset(s for name in list_protocols() for s in load_protocol(name).structures)


def _own_name(name: str) -> str | None:
    """The name itself, if it is of TG-263 or of a protocol that comes with the program."""
    return name if name in _shipped_names() or _standard_name(name) == name else None


def _standard_name(name: str) -> str | None:
    """The TG-263 name that a name certainly means; None where free text could be left in it."""
    mapping = map_name(name)
    if mapping.certainty != "certain" or mapping.type is StructureType.HELPER:
        return None
    return mapping.name


def _replaced(text: str, words: Mapping[str, str]) -> str:
    """Replace whole words, the longest that fits, all at once."""
    longest_first = sorted((w for w in words if w), key=len, reverse=True)
    if not longest_first:
        return text
    pattern = "|".join(re.escape(word) for word in longest_first)
    return re.sub(rf"(?<![\w~])(?:{pattern})(?!\w)", lambda m: words[m.group()], text)


class ObjectiveTokens:
    """Short ids of objectives, made of structure token and function: ``Parotid_L/mean_dose``.

    Parameters
    ----------
    tokens : StructureTokens
    objectives : iterable of Objective
        All that were ever part of the plan, oldest first: ids then stay as they are when later
        steps add and remove objectives.
    """

    def __init__(self, tokens: StructureTokens, objectives: Iterable[Objective]) -> None:
        self._pairs = _OneToOne("objective")
        for objective in objectives:
            if objective.id in self._pairs:
                continue
            base = f"{tokens.token(objective.structure)}/{objective.function}"
            qualifier = _qualifier(objective)
            if qualifier:
                base += f"/{qualifier.replace(' ', '_')}"
            token, number = base, 1
            while not self._pairs.is_free(token):
                number += 1
                token = f"{base}#{number}"
            self._pairs.add(objective.id, token)

    def token(self, objective_id: str) -> str:
        """The token of an objective's id; `InputError` if it is unknown."""
        return self._pairs.token(objective_id)

    def id(self, token: str) -> str:
        """The id of an objective; `InputError` naming all tokens otherwise."""
        return self._pairs.name(token)

    def __contains__(self, objective_id: object) -> bool:
        return objective_id in self._pairs


def _qualifier(objective: Objective) -> str:
    """What an id says beyond structure and function, if this program can have written it."""
    rest = objective.id.rpartition("/")[2]
    for function in OBJECTIVE_FUNCTIONS:
        rest = rest.removeprefix(f"{function} ")
    if rest in _KNOWN_QUALIFIERS:
        return rest
    try:
        return parse_metric(rest).text
    except InputError:
        return ""


class GoalTokens:
    """Short ids of a protocol's goals, ``G1`` …, in the protocol's order."""

    def __init__(self, protocol: Protocol) -> None:
        self._goals = {f"g{n}": goal for n, goal in enumerate(protocol.goals, start=1)}

    def token(self, goal: ClinicalGoal) -> str:
        """The token of a goal of the protocol; `InputError` if it is another's."""
        for key, own in self._goals.items():
            if own is goal or own == goal:
                return key.upper()
        raise InputError(f"the protocol has no goal {goal.label}")

    def goal(self, token: str) -> ClinicalGoal:
        """The goal of a token; `InputError` naming all tokens otherwise."""
        goal = self._goals.get(str(token).strip().casefold())
        if goal is None:
            raise InputError(
                f"there is no goal {str(token)[:80]!r}; there are "
                f"{', '.join(key.upper() for key in self._goals)}"
            )
        return goal
