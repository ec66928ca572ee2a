"""The report in headless Chromium: drawn whole, without errors or network, on a phone, in both themes, on paper."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from greenroom.report.parts import palette


@pytest.fixture(scope="module")
def folder(tiny_audit: Path) -> Path:
    return tiny_audit


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        reason = "no Chromium on this machine: install one (apt-get install chromium) to check the report in a browser"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


class Opened:
    """The report in a browser, with everything it said and asked for."""

    def __init__(self, browser: Any, folder: Path, **context: Any) -> None:
        self.context = browser.new_context(**context)
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on(
            "console",
            lambda message: self.errors.append(message.text) if message.type in ("error", "warning") else None,
        )
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto((folder / "report.html").as_uri())
        self.page.wait_for_selector("html[data-drawn=true]", timeout=60_000)


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_drawn_whole_without_errors_network_or_overflow(browser: Any, folder: Path, width: int, scheme: str) -> None:
    opened = Opened(browser, folder, viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = opened.page
    assert opened.errors == []
    assert [url for url in opened.requests if not url.startswith(("file:", "data:"))] == []
    assert len(opened.requests) <= 2
    assert page.eval_on_selector_all(".figure", "all => all.length") > 16
    assert (
        page.eval_on_selector_all(
            ".figure", "all => all.filter(one => !one.querySelector('svg, canvas')).map(one => one.id)"
        )
        == []
    )
    assert (
        page.eval_on_selector_all(".plot", "all => all.filter(one => !one.querySelector('.trace')).map(one => one.id)")
        == []
    )
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    wide = """all => all.filter(one => !one.closest('.scroller, pre, .js-plotly-plot, datalist, .skip')
        && one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML.slice(0, 90))"""
    assert page.eval_on_selector_all("body *", wide) == []
    opened.context.close()


@pytest.mark.browser
def test_theme_switch_redraws_the_figures_and_is_kept(browser: Any, folder: Path) -> None:
    opened = Opened(browser, folder, viewport={"width": 1000, "height": 800}, color_scheme="light")
    page = opened.page
    label = "getComputedStyle(document.querySelector('#map-of-roles .textpoint text')).fill"
    ground, before = page.evaluate("getComputedStyle(document.documentElement).backgroundColor"), page.evaluate(label)
    page.click("#theme")
    page.wait_for_function(f"{label} !== {json.dumps(before)}")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") != ground
    page.reload()
    page.wait_for_selector("html[data-drawn=true]", timeout=60_000)
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert opened.errors == []
    opened.context.close()


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
def test_names_on_the_map_do_not_overlap_and_search_finds_a_role(browser: Any, folder: Path, width: int) -> None:
    opened = Opened(browser, folder, viewport={"width": width, "height": 900})
    page = opened.page
    boxes = """() => [...document.querySelectorAll('#map-of-roles .textpoint text')].map(one => {
        const box = one.getBoundingClientRect();
        return [box.left, box.top, box.right, box.bottom, one.textContent]; })"""
    found = page.evaluate(boxes)
    assert len(found) >= 12
    assert "default assistant" in {box[4] for box in found}
    role = pl.read_parquet(folder / "persona_map" / "tables" / "places.parquet")["role"][3].replace("_", " ")
    overlaps = [
        (a[4], b[4])
        for index, a in enumerate(found)
        for b in found[index + 1 :]
        if a[0] < b[2] - 1 and b[0] < a[2] - 1 and a[1] < b[3] - 3 and b[1] < a[3] - 3
    ]
    assert overlaps == []
    page.fill("#role-search", role)
    page.press("#role-search", "Enter")
    page.wait_for_selector("#card blockquote")
    assert role in page.inner_text("#card h3")
    assert role in {box[4] for box in page.evaluate(boxes)}
    page.click("[data-zoom='0.6']")
    page.wait_for_function("window.document.querySelectorAll('#map-of-roles .textpoint text').length > 0")
    assert role in {box[4] for box in page.evaluate(boxes)}
    page.click("[data-kind='fictional']")
    assert page.get_attribute("[data-kind='fictional']", "aria-pressed") == "true"
    assert opened.errors == []
    opened.context.close()


@pytest.mark.browser
def test_without_script_the_words_and_tables_remain(browser: Any, folder: Path) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 360, "height": 800})
    page = context.new_page()
    page.goto((folder / "report.html").as_uri())
    assert "Scatter plot of" in page.inner_text("#persona-map")
    assert page.inner_text(".masthead h1").strip()
    context.close()


@pytest.mark.browser
def test_keyboard_order_is_reading_order_and_controls_have_names(browser: Any, folder: Path) -> None:
    opened = Opened(browser, folder, viewport={"width": 1000, "height": 800})
    page = opened.page
    tops, names = [], []
    for _ in range(24):
        page.keyboard.press("Tab")
        top, name = (
            page.evaluate("""() => { const one = document.activeElement; const box = one.getBoundingClientRect();
            return [box.top + scrollY, one.ariaLabel || one.textContent.trim() || one.labels?.[0]?.textContent]; }""")
        )
        tops.append(top)
        names.append(name)
    assert all(names)
    assert tops[12:] == sorted(tops[12:])
    unnamed = "all => all.filter(one => one.getAttribute('role') === 'img' && !one.getAttribute('aria-label')).length"
    assert page.eval_on_selector_all("*", unnamed) == 0
    assert page.eval_on_selector_all("[id]", "all => all.length - new Set(all.map(one => one.id)).size") == 0
    opened.context.close()


@pytest.mark.browser
def test_prints_on_a4_in_light_colours(browser: Any, folder: Path) -> None:
    opened = Opened(browser, folder, viewport={"width": 1280, "height": 800}, color_scheme="dark")
    page = opened.page
    document = page.pdf(format="A4", prefer_css_page_size=True)
    assert document.startswith(b"%PDF")
    assert page.evaluate("document.documentElement.classList.contains('printing')") is False
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    cut = """all => all.filter(one => one.querySelector('.main-svg').getBoundingClientRect().width
        > one.clientWidth + 1).map(one => one.id)"""
    assert page.eval_on_selector_all(".plot", cut) == []
    assert (
        page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--paper').trim()")
        == palette()["colours"]["paper"][0]
    )
    assert opened.errors == []
    opened.context.close()
