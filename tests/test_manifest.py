"""The identity of a run and the manifest's own checks."""

import json
import math
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from attribot.errors import InvalidInputError
from attribot.manifest import (
    MethodInfo,
    git_state,
    hardware,
    package_versions,
    read_manifest,
    run_id,
)
from tests.synthetic_run import manifest

CONFIG = {
    "seed": 0,
    "tracking": {"project": "a"},
    "models": {"target": {"name": "t", "batch_size": 1}, "proxy": {"name": "p", "batch_size": 2}},
}


def test_run_id_is_the_hash_of_what_changes_results() -> None:
    excluded = ("tracking", "models.*.batch_size", "absent.key")
    same = {
        "models": {"proxy": {"batch_size": 9, "name": "p"}, "target": {"name": "t"}},
        "tracking": None,
        "seed": 0,
    }
    assert run_id(CONFIG, excluded) == run_id(same, excluded)
    assert run_id(CONFIG, excluded) != run_id({**CONFIG, "seed": 1}, excluded)
    assert run_id(CONFIG, excluded) != run_id(CONFIG, ("tracking", "models.target.batch_size"))
    # sha256 of '{"a": 1}', worked out with sha256sum.
    assert run_id({"a": 1}) == "f9d86028c6e0"


@pytest.mark.parametrize("value", [Path("x"), math.nan])
def test_run_id_wants_plain_values(value: object) -> None:
    with pytest.raises(InvalidInputError, match="resolved configuration of plain values"):
        run_id({"a": value})


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="'fast'; known: exact, trick, baseline"):
        MethodInfo("x", "fast", "h")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="reference names the method 'loo'; methods of"):
        manifest(reference="loo")
    with pytest.raises(InvalidInputError, match="naive names the method 'slow'"):
        manifest(naive="slow")


def test_a_family_is_optional_and_no_kind(tmp_path: Path) -> None:
    of = MethodInfo("racing, 3 places", "trick", "h", family="racing")
    with pytest.raises(InvalidInputError, match="family 'exact' of 'x' has the name of a kind"):
        MethodInfo("x", "trick", "h", family="exact")
    written = manifest(methods={**manifest().methods, "racing": of})
    path = tmp_path / "manifest.json"
    path.write_text(written.to_json())
    assert read_manifest(tmp_path) == written
    fields = json.loads(written.to_json())
    for method in fields["methods"].values():
        del method["family"]
    path.write_text(json.dumps(fields))
    assert read_manifest(tmp_path).methods["racing"] == replace(of, family="")


def test_manifest_wants_plain_values() -> None:
    with pytest.raises(InvalidInputError, match="plain JSON values only"):
        manifest(config={"path": Path("x")}).to_json()


def test_git_state_tells_commit_and_changes(tmp_path: Path) -> None:
    assert git_state(tmp_path) == (None, None)
    identity = ["-c", "user.name=n", "-c", "user.email=e@x"]
    for command in (["init", "-q"], [*identity, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    commit, is_dirty = git_state(tmp_path)
    assert commit is not None
    assert (len(commit), is_dirty) == (40, False)
    (tmp_path / "new").touch()
    assert git_state(tmp_path) == (commit, True)


def test_versions_and_hardware_name_what_is_there() -> None:
    versions = package_versions(["numpy", "no-such-package"])
    assert list(versions) == ["python", "numpy", "no-such-package"]
    assert versions["no-such-package"] == "not installed"
    machine = hardware(gpu="H200")
    assert machine["gpu"] == "H200"
    assert machine["cores"] >= 1
