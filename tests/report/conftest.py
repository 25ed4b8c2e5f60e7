"""The records of the made-up run, written once; pages, and a browser that opens them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from attribot.manifest import DatasetSummary, Manifest, MethodInfo
from attribot.records import Records, read_records
from attribot.report.joining import join_runs
from attribot.report.page import page_of
from attribot.report.page_data import data_of_results
from tests.report.page_results import RESPONSE_SENTENCES, attention, result
from tests.report.page_shown import LONG, Opener, report_of
from tests.synthetic_run import RUN_ID, continue_run, manifest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-quic"),
    *("--no-first-run", "--disable-component-update", "--disable-sync"),
)
PATIENCE_MS = 60_000


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run")
    continue_run(path)
    return path


@pytest.fixture(scope="session")
def untimed_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run without a measured second."""
    path = tmp_path_factory.mktemp("untimed")
    continue_run(path, is_timed=False)
    return path


@pytest.fixture
def untimed(untimed_dir: Path) -> Records:
    return read_records(untimed_dir)


@pytest.fixture
def records(run_dir: Path) -> Records:
    return read_records(run_dir)


def with_families(of: Manifest) -> Manifest:
    """The manifest as if two of the methods were one under a growing setting."""
    families = {
        "hierarchical": MethodInfo("screen, 3 kept, exactly", "trick", "a2", "screen, exactly"),
        "similarity": MethodInfo("screen, 5 kept, exactly", "trick", "a3", "screen, exactly"),
    }
    return replace(of, methods={**of.methods, **families})


def without_model(summary: pd.DataFrame) -> pd.DataFrame:
    """The summary as if `similarity` ran no model and took next to no time."""
    summary = summary.copy()
    is_free = summary["method"] == "similarity"
    summary.loc[is_free, ["forward_passes", "flops", "wall_seconds"]] = [0.0, 0.0, 1e-4]
    for column in summary.columns:
        if column.startswith("speedup") and not column.endswith("count"):
            summary.loc[is_free, column] = 20000.0
        if column.startswith(("token_saving", "flops_saving")) and not column.endswith("count"):
            summary.loc[is_free, column] = np.nan
    return summary


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Gone with the tests of a module: while it is there, no other event loop can run."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        pytest.skip(f"no browser to click with: install one of {', '.join(CHROMIUM)}")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=list(QUIET))
        yield chromium
        chromium.close()


@dataclass
class Witness:
    """What a page said and asked for."""

    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Opener]:
    """Opens HTML; in the end no page may have complained or asked for anything but itself."""
    witness = Witness()
    contexts: list[BrowserContext] = []

    def open_page(html: str, is_watched: bool = True, **settings: Any) -> Page:
        path = tmp_path / f"page-{len(contexts)}.html"
        path.write_text(html, encoding="utf-8")
        settings = {"viewport": {"width": 1280, "height": 900}} | settings
        contexts.append(browser.new_context(**settings))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("request", lambda request: witness.asked.append(request.url))
        if is_watched:
            page.on("console", lambda message: witness.said.append(message.text))
            page.on("pageerror", lambda error: witness.said.append(str(error)))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert witness.said == []
    assert len(witness.asked) == len(contexts)
    assert all(url.startswith("file:") for url in witness.asked)


@pytest.fixture(scope="session")
def single() -> str:
    """Leave-one-out, which has scores by token, and attention, which has none."""
    return page_of(data_of_results([result(), attention()], RESPONSE_SENTENCES))


@pytest.fixture(scope="session")
def big() -> str:
    """A response of ten lines, and 150 documents of two sentences, one of them long."""
    says = {LONG: "says a lot about the tower, its height, its visitors and its weight, " * 6}
    little = "says a little about the tower."
    sentences = tuple(f"Sentence {i} {says.get(i, little)}" for i in range(300))
    response = " ".join(["The tower opened in 1889."] * 15)
    parts = [(26 * i, 26 * i + 25) for i in range(15)]
    of = result(sentences=sentences, response=response, names=[f"{i}.txt" for i in range(150)])
    return page_of(data_of_results([of], parts))


@pytest.fixture(scope="session")
def report(run_dir: Path) -> str:
    return report_of(read_records(run_dir))


@pytest.fixture(scope="session")
def several(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of two data sets."""
    path = tmp_path_factory.mktemp("longer")
    continue_run(path, manifest(dataset=DatasetSummary("longer", 3), run_id=RUN_ID))
    return report_of(join_runs([read_records(run_dir), read_records(path)]))
