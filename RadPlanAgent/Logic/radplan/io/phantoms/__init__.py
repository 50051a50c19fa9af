"""Built-in digital phantoms: whole planning cases made from formulas, no patient behind them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from ...case import Case
from ...errors import InputError
from .head_neck import make_head_neck
from .prostate import make_prostate
from .rectum import make_rectum

PHANTOMS: dict[str, Callable[[], Case]] = {
    "prostate": make_prostate,
    "rectum": make_rectum,
    "head-neck": make_head_neck,
}


def make_phantom(name: str) -> Case:
    """Build a phantom, or return the one built before in this process.

    Parameters
    ----------
    name : str
        ``prostate``, ``rectum`` or ``head-neck``.

    Raises
    ------
    InputError
        If there is no phantom of that name.
    """
    if name not in PHANTOMS:
        raise InputError(f"no phantom {name!r}; there are {', '.join(PHANTOMS)}")
    return _built(name)


@cache
def _built(name: str) -> Case:
    return PHANTOMS[name]()
