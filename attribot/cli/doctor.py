"""What is installed, held against what attribot asks for; then the machine."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

NAME = "attribot"
Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """subject: what was looked at. text: what was found. advice: what to do, where something is."""

    status: Status
    subject: str
    text: str
    advice: str = ""


def examine() -> list[Finding]:
    """Everything that is checked, in order; the machine only where PyTorch can be imported."""
    findings = [_python(), *_required(), *_extras()]
    try:
        from attribot.cli.machine import examine_machine
    except ImportError as error:
        broken = Finding("fail", "import", str(error), f"install it anew: pip install {NAME}")
        return [*findings, broken]
    return [*findings, *examine_machine()]


def _python() -> Finding:
    wanted = metadata.metadata(NAME)["Requires-Python"]
    version = platform.python_version()
    if SpecifierSet(wanted).contains(version, prereleases=True):
        return Finding("ok", "python", f"{version}, asked for {wanted}")
    return Finding("fail", "python", f"{version}, asked for {wanted}", "install a newer Python")


def _requirements(extra: str) -> list[Requirement]:
    """Those of an extra alone, of the extras that it consists of as well; "" for the package's."""
    own = []
    for text in metadata.requires(NAME) or []:
        requirement = Requirement(text)
        marker = requirement.marker
        is_always = marker is None or marker.evaluate({"extra": ""})
        if is_always != (extra == "") or not (is_always or _holds(requirement, extra)):
            continue
        parts = sorted(requirement.extras) if requirement.name == NAME else []
        own += [each for part in parts for each in _requirements(part)]
        own += [] if requirement.name == NAME else [requirement]
    return own


def _holds(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is not None and requirement.marker.evaluate({"extra": extra})


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _out_of_range(requirement: Requirement) -> str | None:
    """What is wrong with the installed version; None where it is right or absent."""
    version = _installed(requirement.name)
    if version is None or requirement.specifier.contains(Version(version), prereleases=True):
        return None
    return f"{requirement.name} {version}, asked for {requirement.specifier}"


def _required() -> Iterator[Finding]:
    requirements = _requirements("")
    for requirement in requirements:
        wrong = _out_of_range(requirement)
        if _installed(requirement.name) is None:
            wrong = f"{requirement.name} is not installed, asked for {requirement.specifier}"
        if wrong is not None:
            yield Finding("fail", "package", wrong, f"pip install '{requirement}'")
    found = [f"{each.name} {_installed(each.name)}" for each in requirements]
    yield Finding("ok", "packages", ", ".join(found))


def _extras() -> Iterator[Finding]:
    for extra in metadata.metadata(NAME).get_all("Provides-Extra") or []:
        requirements = _requirements(extra)
        absent = [each.name for each in requirements if _installed(each.name) is None]
        wrong = [text for text in map(_out_of_range, requirements) if text is not None]
        install = f"pip install '{NAME}[{extra}]'"
        if wrong:
            yield Finding("warn", f"extra {extra}", "; ".join(wrong), install)
        elif absent:
            text = f"optional, not installed: {', '.join(absent)}"
            yield Finding("ok", f"extra {extra}", text, f"if you need it: {install}")
        else:
            yield Finding("ok", f"extra {extra}", "installed")
