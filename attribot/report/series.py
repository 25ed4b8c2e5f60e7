"""Which methods belong together in a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from attribot.manifest import Manifest, MethodKind


@dataclass(frozen=True)
class Series:
    """Methods that share a look.

    methods: names, in the order of the manifest.
    settings: of each method, the parts of its label, between commas, that not all others have.
    is_family: the methods differ in one setting, which grows along `methods`.
    """

    name: str
    methods: tuple[str, ...]
    settings: tuple[str, ...]
    is_family: bool

    @property
    def is_joined(self) -> bool:
        """Whether there is more than one setting, for a line to join."""
        return self.is_family and len(self.methods) > 1

    @property
    def title(self) -> str:
        """The name and, of a family, its settings; a last word that all share is said once."""
        if not self.is_joined:
            return self.name
        words = [setting.split(" ") for setting in self.settings]
        if all(len(word) > 1 and word[-1] == words[0][-1] for word in words):
            words[:-1] = [word[:-1] for word in words[:-1]]
        settings = [" ".join(word) for word in words]
        separator = "; " if any("," in setting for setting in settings) else ", "
        return f"{self.name}: {separator.join(settings)}"


def series_of(manifest: Manifest) -> tuple[Series, ...]:
    """The families of methods, and one series per kind of those without a family.

    The reference is in none.
    """
    groups: dict[str, dict[str, list[str]]] = {}
    for method, info in manifest.methods.items():
        if method == manifest.reference:
            continue
        groups.setdefault(info.family or info.kind, {})[method] = info.label.split(", ")
    return tuple(
        Series(
            name,
            tuple(members),
            _settings(list(members.values())),
            is_family=name not in get_args(MethodKind),
        )
        for name, members in groups.items()
    )


def _settings(labels: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """What tells labels, each as its parts, from one another."""
    common = set.intersection(*map(set, labels))
    own = [[part for part in label if part not in common] for label in labels]
    return tuple(", ".join(parts or label) for parts, label in zip(own, labels, strict=True))
