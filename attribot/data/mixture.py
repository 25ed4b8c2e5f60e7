"""Several data sets as one, so that the same methods meet all of them in one run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from attribot.data.loading import DatasetLoader, LoadedExamples
from attribot.errors import InvalidInputError


@dataclass(frozen=True, kw_only=True)
class MixtureDataset:
    """The examples of all parts, taken in turn: a run that is cut short has some of each.

    parts: data sets by name; each keeps its own filters and sizes.

    Raises:
        InvalidInputError: no parts.
    """

    parts: Mapping[str, DatasetLoader]

    def __post_init__(self) -> None:
        if not self.parts:
            raise InvalidInputError("a mixture needs at least one data set in `parts`")

    def load(self) -> LoadedExamples:
        """Example number i of every part, then number i + 1; reasons to drop carry the part's name.

        Raises:
            InvalidInputError: a part cannot be read, or has no example left.
        """
        dropped: Counter[str] = Counter()
        num_read = 0
        placed = []
        for order, (name, part) in enumerate(self.parts.items()):
            loaded = part.load()
            num_read += loaded.num_read
            dropped.update({f"{name}: {why}": count for why, count in loaded.dropped.items()})
            # Shares, not numbers: a part of half the size is met every other time.
            count = len(loaded.examples)
            placed += [((i + 0.5) / count, order, e) for i, e in enumerate(loaded.examples)]
        placed.sort(key=lambda item: item[:2])
        return LoadedExamples(tuple(e for *_, e in placed), num_read, dict(dropped))
