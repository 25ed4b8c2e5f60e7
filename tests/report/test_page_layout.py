"""The page in a browser: what is in sight, on desktops and phones, in the light and in the dark."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from attribot.report.page import page_of
from attribot.report.page_data import data_of_results
from tests.report.page_results import SENTENCES, result
from tests.report.page_shown import (
    DESKTOP,
    LONG,
    PHONE,
    Opener,
    heat_map_of,
    is_seen,
    source,
)

pytestmark = pytest.mark.slow
TURN = "\u202e"


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_what_is_gone_to_is_seen(opened: Opener, big: str, viewport: dict[str, int]) -> None:
    page = opened(big, viewport=viewport)
    assert not is_seen(page, LONG)
    page.click("#all")
    button = page.locator(f"#ranking button[data-source='{LONG}']")
    button.click()
    expect(source(page, LONG)).to_have_class(re.compile("pinned"))
    assert is_seen(page, LONG)
    expect(page.locator("#detail")).to_be_in_viewport(ratio=1)
    page.fill("#search", "Sentence 77 ")
    page.keyboard.press("Enter")
    expect(source(page, 77)).to_have_class(re.compile("pinned"))
    assert is_seen(page, 77)
    page.keyboard.press("Escape")
    expect(page.locator(".pinned")).to_have_count(0)


def test_a_source_of_two_panels_on_a_phone_is_seen_in_the_first(
    opened: Opener, single: str
) -> None:
    page = opened(single, viewport=PHONE)
    page.select_option("#other", label="attention")
    page.locator("#ranking button").first.click()
    assert is_seen(page, 1)


def test_details_are_in_sight_wherever_a_source_is(opened: Opener, big: str) -> None:
    page = opened(big, viewport=DESKTOP)
    detail = page.locator("#detail")
    for index, scroll in ((1, 0), (3, 0), (3, 300)):
        page.evaluate(f"scrollTo(0, {scroll})")
        source(page, index).hover()
        expect(detail).to_contain_text(f"Source {index + 1} of 300")
        expect(detail).to_be_in_viewport(ratio=1)
    # It covers none of the response.
    page.evaluate("scrollTo(0, 0)")
    source(page, 1).hover()
    response, card = (page.locator(name).bounding_box() for name in ("#response", "#detail"))
    assert response["y"] + response["height"] <= card["y"]


def test_a_hint_covers_nothing_on_a_phone(opened: Opener, big: str) -> None:
    page = opened(big, viewport=PHONE)
    position = "node => getComputedStyle(node).position"
    assert page.locator("#detail").evaluate(position) == "static"
    source(page, 0).click()
    assert page.locator("#detail").evaluate(position) == "sticky"


def test_it_follows_the_system_into_the_dark_or_a_choice(opened: Opener, report: str) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    light, dark = "rgb(252, 252, 251)", "rgb(20, 22, 24)"
    page = opened(report, color_scheme="dark")
    assert page.evaluate(background) == dark
    page.select_option("#theme", "light")
    assert page.evaluate(background) == light
    page = opened(report, color_scheme="light")
    assert page.evaluate(background) == light
    page.select_option("#theme", "dark")
    assert page.evaluate(background) == dark


@pytest.mark.parametrize("width", [320, 390, 768])
def test_a_phone_scrolls_down_only(opened: Opener, single: str, report: str, width: int) -> None:
    for html in (single, report):
        page = opened(html, viewport={"width": width, "height": 800}, has_touch=True)
        page.select_option("#other", index=1)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        source(page, 1).tap()
        expect(page.locator("#detail")).to_contain_text("Source 2 of 4")
        expect(page.locator("#detail")).to_be_in_viewport()


def test_methods_stay_when_a_table_of_several_data_sets_scrolls(
    opened: Opener, several: str, report: str
) -> None:
    for html, kept in ((several, 2), (report, 1)):
        page = opened(html, viewport=PHONE)
        table = page.locator(".wide").first
        table.evaluate("node => { node.scrollLeft = 400; }")
        left = table.bounding_box()["x"]
        head = table.locator(f"th:nth-child({kept})")
        cell = table.locator(f"tbody tr:first-child td:nth-child({kept})")
        expect(head).to_have_text("Method")
        assert (head.bounding_box()["x"], cell.bounding_box()["x"]) == (left, left)
        assert table.locator(f"th:nth-child({kept + 1})").bounding_box()["x"] < left


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing(
    opened: Opener, single: str, several: str, scheme: str, viewport: dict[str, int]
) -> None:
    """The rules of axe-core, among them contrast, landmarks, and names of regions."""
    for html in (single, several):
        page = opened(html, viewport=viewport, color_scheme=scheme)
        source(page, 1).click()
        found = Axe().run(page).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []


def test_everything_that_can_be_used_has_a_name(opened: Opener, single: str, report: str) -> None:
    roles = {"button", "combobox", "searchbox", "radio", "region"}
    for html in (single, report):
        page = opened(html)
        session = page.context.new_cdp_session(page)
        nodes = session.send("Accessibility.getFullAXTree")["nodes"]
        used = [node for node in nodes if node.get("role", {}).get("value") in roles]
        assert {"button", "combobox", "searchbox"} <= {node["role"]["value"] for node in used}
        assert [node for node in used if not node.get("name", {}).get("value", "").strip()] == []
        described = source(page, 1).get_attribute("aria-description")
        assert "rank" in (described or "")


def test_text_that_turns_its_direction_turns_no_other(opened: Opener) -> None:
    given = (f"{TURN}One of it.", "Two of it.", "Three of it.", "Four of it.")
    of = result(sentences=given, response=f"{TURN}It opened in 1889. A radio saved it.")
    page = opened(page_of(data_of_results([of], [(0, 19), (20, 37)])))
    notebook = opened(heat_map_of(of))
    for pieces in (
        page.locator("#panel-a .source"),
        page.locator(".part"),
        notebook.locator("[title]"),
    ):
        first, second = (pieces.nth(index).bounding_box() for index in (0, 1))
        assert first["y"] == second["y"]
        assert first["x"] + first["width"] <= second["x"]


def test_text_from_right_to_left_stands_so(opened: Opener) -> None:
    given = ("המגדל נפתח בפריז.", "הוא גבוה מאוד.", "הרדיו הציל אותו.", "ירד גשם.")
    of = result(sentences=given, names=("a.txt", "b.txt"))
    page, notebook = opened(page_of(data_of_results([of]))), opened(heat_map_of(of))
    for pieces in (page.locator("#panel-a .source"), notebook.locator("[title]")):
        first, second = (pieces.nth(index).bounding_box() for index in (0, 1))
        assert second["x"] + second["width"] <= first["x"]


def test_a_long_word_does_not_widen_the_heat_map(opened: Opener) -> None:
    of = result(sentences=("A" * 900, *SENTENCES), names=("B" * 900, "b"), reason="C" * 900)
    page = opened(heat_map_of(of))
    assert page.evaluate("document.documentElement.scrollWidth") == 1280
