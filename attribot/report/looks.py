"""How figures tell series of methods apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from attribot.report.series import Series


@dataclass(frozen=True)
class Look:
    """Marker, and colours of its edge and its filling."""

    marker: str
    edge: str
    filling: str


# Okabe and Ito's colours, told apart under every common colour blindness; shape and filling say it
# again in greyscale.
KIND_LOOKS = {
    "exact": Look("D", "#000000", "#000000"),
    "trick": Look("o", "#0072B2", "#0072B2"),
    "baseline": Look("^", "#D55E00", "#ffffff"),
}
_COLOURS = ("#E69F00", "#009E73", "#0072B2", "#CC79A7", "#56B4E9", "#D55E00", "#7f6a5d")
# One more than colours, so that families which share a colour differ in shape; none of a kind's.
_MARKERS = ("s", "v", "P", "X", "p", "<", "h", ">")


def looks_of(series: Sequence[Series]) -> Mapping[str, Look]:
    """A look for every series by name: its kind's, or for a family the next one that is free."""
    families = [one for one in series if one.is_family]
    looks = {one.name: KIND_LOOKS[one.name] for one in series if not one.is_family}
    for index, family in enumerate(families):
        colour = _COLOURS[index % len(_COLOURS)]
        is_filled = (index // len(_COLOURS)) % 2 == 0
        marker = _MARKERS[index % len(_MARKERS)]
        looks[family.name] = Look(marker, colour, colour if is_filled else "#ffffff")
    return looks
