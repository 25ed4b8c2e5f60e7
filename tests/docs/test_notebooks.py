"""The notebooks run, and give the outputs that stand in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("nbclient", reason="notebooks are run by nbclient, of the extra dev")
nbformat = pytest.importorskip(
    "nbformat", reason="notebooks are read by nbformat, of the extra dev"
)

from docs.building.notebooks import METADATA, NOTEBOOKS, executed  # noqa: E402
from tests.docs.pages import check_same  # noqa: E402

# What the text of a notebook relies on.
SAID = {
    "add_a_method": ["score(s) = log p(R | Q, C with s alone)", "leave-one-out", "add-one-in"],
    "attribute_an_answer": ["four degrees Celsius. [4] The station", "<span title=", "char_start"],
    "compare_two_methods": ["loo [nats]", "attention [attention mass]", "Spearman", "nDCG@3"],
}


def texts(notebook: Any) -> str:
    """Everything that the cells put out, in order."""
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    shown = [
        out["data"].items() if "data" in out else [(out["name"], out["text"])] for out in outputs
    ]
    return "\n".join(f"{kind}: {text}" for pairs in shown for kind, text in sorted(pairs))


def test_each_is_described() -> None:
    assert {path.stem for path in NOTEBOOKS} == set(SAID)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_committed_is_short_and_of_no_machine(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata == METADATA
    assert 6 <= len(notebook.cells) <= 10
    assert path.stat().st_size < 20_000
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert all(not cell.metadata for cell in notebook.cells)
    shown = texts(notebook)
    assert not re.search(r"stderr: |(?<![\w<])/\w+/|\d s\b|it/s", shown)
    assert [text for text in SAID[path.stem] if text not in shown] == []


def test_other_words_or_numbers_are_seen() -> None:
    check_same("stdout: score  1.00", "stdout: score 0.999")
    check_same("score 1.00 in 0.2 s", "score 1.00 in 7.3 s")
    with pytest.raises(AssertionError):
        check_same("stdout: score 1.00", "stdout: score 1.05")
    with pytest.raises(AssertionError):
        check_same("stdout: score 1.00", "stdout: other 1.00")
    with pytest.raises(AssertionError):
        check_same("stdout: 5 passes", "stdout: 5 passes 1.00")


@pytest.mark.slow
@pytest.mark.usefixtures("bundled_model_dir")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_and_gives_the_same_outputs(path: Path) -> None:
    check_same(texts(executed(path)), texts(nbformat.read(path, as_version=4)))
