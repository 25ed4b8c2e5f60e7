"""What a run was: configuration, methods, models, code and machine, as one JSON file."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args

from attribot.errors import InvalidInputError, RecordsError

SCHEMA_VERSION = 1
MethodKind = Literal["exact", "trick", "baseline"]


@dataclass(frozen=True)
class MethodInfo:
    """A method of the run.

    label: its composition as text, for tables and figures.
    kind: "exact" gives the reference scores, "trick" approximates them, "baseline" is compared.
    hash: of the method's configuration.
    family: methods of one family differ in one setting, which grows in the order of the manifest;
        figures join them. Empty: of no family.
    """

    label: str
    kind: MethodKind
    hash: str
    family: str = ""

    def __post_init__(self) -> None:
        if self.kind not in get_args(MethodKind):
            raise InvalidInputError(
                f"unknown kind of method {self.kind!r}; known: {', '.join(get_args(MethodKind))}"
            )
        if self.family in get_args(MethodKind):
            raise InvalidInputError(
                f"the family {self.family!r} of {self.label!r} has the name of a kind of method: "
                "give it another name, or none"
            )


@dataclass(frozen=True)
class ModelInfo:
    """The model that filled a role."""

    name: str
    revision: str | None
    weights_sha: str
    dtype: str
    attn_implementation: str
    chat_template_sha: str
    num_parameters: int
    device: str


@dataclass(frozen=True)
class DatasetSummary:
    """How many examples were read and, by reason, how many of them were left out."""

    name: str
    num_read: int
    dropped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """All that is needed to understand or repeat a run.

    config: resolved, plain values only.
    methods: by name, in the order of tables.
    models: by role.
    hardware: "cpu", "cores", "gpu" (None without one).
    started_at, finished_at: UTC, ISO 8601; `finished_at` is None until the Parquet files stand.
    reference: the method whose scores are the exact ones.
    naive: the method that speedups are measured against; None where none ran.
    resumed: one entry per later start that continued the run: its time, code and machine.

    Raises:
        InvalidInputError: `reference` or `naive` is none of the methods.
    """

    run_id: str
    config: Mapping[str, Any]
    methods: Mapping[str, MethodInfo]
    models: Mapping[str, ModelInfo]
    dataset: DatasetSummary
    reference: str
    naive: str | None
    seed: int
    git_commit: str | None
    is_dirty: bool | None
    versions: Mapping[str, str]
    hardware: Mapping[str, Any]
    started_at: str
    finished_at: str | None = None
    resumed: tuple[Mapping[str, Any], ...] = ()
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        for part, name in (("reference", self.reference), ("naive", self.naive)):
            if name is not None and name not in self.methods:
                raise InvalidInputError(
                    f"{part} names the method {name!r}; methods of the run: "
                    f"{', '.join(self.methods)}"
                )

    def circumstances(self) -> dict[str, Any]:
        """What may differ between the starts of one run."""
        names = ("started_at", "git_commit", "is_dirty", "versions", "hardware")
        return {name: getattr(self, name) for name in names}

    def to_json(self) -> str:
        """Indented JSON text.

        Raises:
            InvalidInputError: a value is not plain.
        """
        try:
            return json.dumps(asdict(self), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        except (TypeError, ValueError) as error:
            raise InvalidInputError(
                f"the manifest must hold plain JSON values only ({error}); resolve the "
                "configuration to dicts, lists, strings, numbers, booleans and None"
            ) from error


def read_manifest(run_dir: Path) -> Manifest:
    """The manifest of a run folder.

    Raises:
        RecordsError: there is none, it cannot be read, or it has another schema.
    """
    path = run_dir / "manifest.json"
    if not path.is_file():
        raise RecordsError(
            f"{run_dir} is no run folder: expected a manifest.json in it; pass the folder that a "
            "run has written"
        )
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        version = fields["schema_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise RecordsError(f"{path} is damaged ({error}); restore it or start afresh") from error
    if version != SCHEMA_VERSION:
        raise RecordsError(
            f"{path} has schema {version}, this attribot reads schema {SCHEMA_VERSION}; use the "
            "version of attribot that wrote it"
        )
    try:
        return _from_fields(fields)
    except (KeyError, TypeError) as error:
        raise RecordsError(f"{path} is damaged ({error}); restore it or start afresh") from error


def _from_fields(fields: dict[str, Any]) -> Manifest:
    fields["methods"] = {name: MethodInfo(**of) for name, of in fields["methods"].items()}
    fields["models"] = {role: ModelInfo(**of) for role, of in fields["models"].items()}
    fields["dataset"] = DatasetSummary(**fields["dataset"])
    fields["resumed"] = tuple(fields["resumed"])
    return Manifest(**fields)


def run_id(config: Mapping[str, Any], excluded: Iterable[str] = ()) -> str:
    """Twelve hex digits that two runs share exactly if they must give the same results.

    `sha256` of the configuration as JSON with sorted keys.

    excluded: dotted keys without influence on results (tracking, folders, batch sizes); a part `*`
        stands for any key, and keys that the configuration lacks are passed over.

    Raises:
        InvalidInputError: the configuration is not plain.
    """
    kept: Any = config
    for dotted in excluded:
        kept = _without(kept, dotted.split("."))
    try:
        text = json.dumps(kept, sort_keys=True, ensure_ascii=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"expected a resolved configuration of plain values, got one with {error}"
        ) from error
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _without(config: Any, parts: Sequence[str]) -> Any:
    """`config` without the key that `parts` leads to."""
    if not isinstance(config, Mapping):
        return config
    first, rest = parts[0], parts[1:]
    return {
        key: _without(value, rest) if first in ("*", key) else value
        for key, value in config.items()
        if rest or first not in ("*", key)
    }


def git_state(directory: Path) -> tuple[str | None, bool | None]:
    """Commit of the work tree at `directory` and whether it has uncommitted changes.

    (None, None) where `directory` is in no git work tree or git is not installed.
    """
    try:
        commit = _git(directory, "rev-parse", "HEAD")
        return commit, bool(_git(directory, "status", "--porcelain"))
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None, None


def _git(directory: Path, *arguments: str) -> str:
    command = ["git", "-C", str(directory), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def package_versions(packages: Iterable[str]) -> dict[str, str]:
    """Installed version of each distribution, and of Python; nothing is imported for it."""
    versions = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def hardware(gpu: str | None) -> dict[str, Any]:
    """The machine: "cpu" model, "cores" this process may use, and the "gpu" as the caller says."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cpu": models[0] if models else platform.machine(), "cores": cores, "gpu": gpu}
