"""The commands that pages show exist, run one after the other, and print what stands below them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
from packaging.requirements import Requirement

from attribot.cli.main import cli
from tests.docs.pages import PAGES, check_same, page_of, snippets_of
from tests.synthetic_run import continue_run
from tests.test_readme import REPOSITORY, blocks

RUN_PAGES = ("install", "command_line")
CHECKOUT = ("pyproject.toml", "README.md", "LICENSE", "attribot")
BIN = Path(sys.executable).parent
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    # pip finds all that it would install in this environment, or fails: it asks no registry.
    "PIP_DRY_RUN": "1",
    "PIP_NO_INDEX": "1",
    "PIP_NO_BUILD_ISOLATION": "0",
    "PIP_QUIET": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}
FINDING = re.compile(r"^(?:ok|warn|fail) +([\w -]+): ", flags=re.M)
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def invocations(page: str) -> list[list[str]]:
    """Arguments of `attribot` in shell blocks and in code within the text, as far as these are no
    patterns such as `attribot COMMAND`."""
    shown = "\n".join(blocks("bash", page)).replace("\\\n", " ").splitlines()
    shown += [each for each in re.findall(r"`([^`\n]+)`", page) if not re.search("[A-Z]{3}", each)]
    commands = []
    for line in (each for each in shown if "attribot " in each):
        words = shlex.split(line, comments=True)
        ends = [index for index, word in enumerate(words) if word in ("|", "||", ">")]
        for start, end in zip(
            [0, *(index + 1 for index in ends)], [*ends, len(words)], strict=True
        ):
            if words[start:end][:1] == ["attribot"]:
                commands.append(words[start + 1 : end])
    return commands


SHOWN = [
    pytest.param(arguments, id=f"{page.stem}: {' '.join(arguments)[:60]}")
    for page, text in PAGES.items()
    for arguments in invocations(text)
]


def test_commands_were_found() -> None:
    found = {" ".join(each.values[0][:2]) for each in SHOWN}
    assert {"attribute --context", "doctor --json", "cache clean", "models precision"} <= found


@pytest.mark.parametrize("arguments", SHOWN)
def test_every_option_exists(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in re.findall(r"[\w]+\.(?:txt|jsonl)", " ".join(arguments)):
        Path(name).write_text("x\n", encoding="utf-8")
    Path("runs/demo").mkdir(parents=True)
    command: click.Command = cli
    context = click.Context(cli)
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        _, found, arguments = command.resolve_command(context, arguments)
        assert found is not None
        command = found
    if "loop" in arguments:  # the page shows how a wrong name is answered
        arguments[arguments.index("loop")] = "loo"
    if arguments == ["--version"]:
        assert isinstance(command, click.Group)
    else:
        command.make_context(command.name, arguments, parent=context)


def test_every_extra_is_described() -> None:
    """With the packages that it brings, then the extras; `dev` in words."""
    rows = dict(re.findall(r"^\| `([\w-]+)` \| (.*?) \|", page_of("install"), flags=re.M))
    extras = PROJECT["optional-dependencies"]
    assert list(rows) == list(extras)
    for name in rows.keys() - {"dev"}:
        requirements = [Requirement(text) for text in extras[name]]
        packages = [each.name for each in requirements if each.name != PROJECT["name"]]
        own = [each for each in requirements if each.name == PROJECT["name"]]
        parts = {f"`{part}`" for each in own for part in each.extras}
        shown = re.findall(r"[`\w-]+", rows[name])
        assert shown[: len(packages)] == packages
        assert set(shown[len(packages) :]) == parts


def check_output(printed: str, said: str) -> None:
    """What is shown; of an excerpt, which leaves out lines of findings, their subjects in order."""
    if "..." not in said.splitlines():
        check_same(printed, said)
        return
    subjects = iter(FINDING.findall(printed))
    shown = FINDING.findall(said)
    assert len(shown) > 3
    assert [each for each in shown if each not in subjects] == []


@pytest.mark.slow
@pytest.mark.usefixtures("bundled_model_dir")
@pytest.mark.parametrize("name", RUN_PAGES)
def test_commands_print_what_the_page_says(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if name == "install":
        copy_checkout(tmp_path)
    continue_run(tmp_path / "runs" / "demo")
    names: dict[str, Any] = {}
    for language, code, said in snippets_of(page_of(name), "bash|python"):
        if language == "python":
            exec(code, names)
            printed = capsys.readouterr().out
        else:
            printed = run_in_bash(code)
        if said:
            check_output(printed, said)


def copy_checkout(folder: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    for each in CHECKOUT:
        source = REPOSITORY / each
        if source.is_dir():
            shutil.copytree(source, folder / each, ignore=ignored)
        else:
            shutil.copy(source, folder)


def run_in_bash(code: str) -> str:
    """What a block prints on a terminal; it must not fail."""
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", code],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}"
    return done.stdout
