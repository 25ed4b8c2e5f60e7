"""Which model an estimator was trained for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from attribot.errors import InvalidInputError
from attribot.scoring.base import Identified


@dataclass(frozen=True)
class TrainedFor:
    """The model whose internals an estimator has learned to read.

    name: of the model, for messages.
    fingerprint: (part, value) pairs, sorted; see `LanguageModel.fingerprint`.
    """

    name: str
    fingerprint: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, name: str, fingerprint: Mapping[str, Any]) -> TrainedFor:
        """From the parts of a fingerprint in any order."""
        return cls(name, tuple(sorted(fingerprint.items())))

    def check(self, scorer: object, role: str) -> None:
        """Whether a scorer is on this model.

        Raises:
            InvalidInputError: it is on another one, or does not tell.
        """
        if not isinstance(scorer, Identified):
            raise InvalidInputError(
                f"the estimator was trained for {self.name}, and the role {role!r} is filled by "
                f"{type(scorer).__name__}, which does not tell its model: load the estimator with "
                f"allow_other_model=true if it is the same"
            )
        known, found = dict(self.fingerprint), dict(scorer.fingerprint)
        differing = [part for part in sorted(known | found) if known.get(part) != found.get(part)]
        if differing:
            parts = ", ".join(
                f"{part} {known.get(part)!r} -> {found.get(part)!r}" for part in differing
            )
            raise InvalidInputError(
                f"the estimator was trained for {self.name}, but the role {role!r} is filled by "
                f"another model or another setting of it ({parts}): train one for it with "
                f"`python -m experiments.train`, or load this one with allow_other_model=true"
            )
