"""What a page shows in a browser, for the tests that look at it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attribot.explain.result import SCHEMA_VERSION, AttributionResult
from attribot.records import Records
from attribot.report.curve import cost_units, curve_of
from attribot.report.html import render_report
from attribot.report.summary import summarise

if TYPE_CHECKING:
    from playwright.sync_api import Page

Opener = Callable[..., "Page"]
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 640}
# Of the sources of the page with many, the one with a long text.
LONG = 240


def report_of(records: Records, num_examples: int = 50) -> str:
    summary = summarise(records)
    curves = {unit: curve_of(summary, records.manifest, unit) for unit in cost_units(summary)}
    return render_report(records, summary, curves, num_examples)


def heat_map_of(of: dict[str, Any]) -> str:
    """What a notebook shows, on a page of its own."""
    shown = AttributionResult.from_dict({"schema_version": SCHEMA_VERSION, **of})._repr_html_()
    return f'<!DOCTYPE html><meta charset="utf-8"><link rel="icon" href="data:,">{shown}'


def source(page: Page, index: int, panel: str = "a") -> Any:
    return page.locator(f"#panel-{panel} .source").nth(index)


def badges(page: Page, panel: str = "a") -> dict[int, str]:
    """Places that the panel marks, by source."""
    script = "nodes => nodes.map(node => [Number(node.dataset.source), node.dataset.badge])"
    pairs = page.locator(f"#panel-{panel} .source[data-badge]").evaluate_all(script)
    return dict(pairs)


def is_seen(page: Page, index: int) -> bool:
    """Whether nothing covers the source: neither the controls nor the card."""
    script = """node => [...node.getClientRects()].every(({ left, right, top, bottom }) =>
      node.contains(document.elementFromPoint((left + right) / 2, (top + bottom) / 2)))"""
    return bool(source(page, index).evaluate(script))


def line_style(page: Page, index: int) -> str:
    script = "node => getComputedStyle(node).textDecorationStyle"
    return str(source(page, index).evaluate(script))
