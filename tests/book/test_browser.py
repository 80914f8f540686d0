"""The built book in a real browser with the network cut."""

import io
import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import ROOT
from PIL import Image, ImageStat
from refresh import notebooks

BOOK = ROOT / "book"
SOURCES = [*notebooks(), *sorted((BOOK / "appendix").rglob("*.md"))]
PAGE_OF = {
    path.relative_to(BOOK): path.relative_to(ROOT).with_suffix(".html").as_posix()
    for path in SOURCES
}
CHAPTERS = [page for path, page in PAGE_OF.items() if path.parts[0] != "appendix"]
APPENDIX = [page for path, page in PAGE_OF.items() if path.parts[0] == "appendix"]
PAGES = ["book/intro.html", *CHAPTERS, *APPENDIX]
MEGABYTE = 1_000_000


@pytest.fixture(params=["http", "file"])
def base(request, html, server):
    return server if request.param == "http" else html.as_uri()


def assert_clean(visited):
    assert not visited.external
    assert not visited.errors


@pytest.mark.parametrize("page", PAGES)
def test_page(visit, server, page):
    """Clean, formulas drawn, no wider than the screen, accessible, light enough.

    Colours depend on the theme and the layout on the width, so that each of the two
    is judged again where the other stays as it was.
    """
    visited = visit(f"{server}/{page}")
    _assert_formulas(visited.page)
    _assert_fits(visited.page)
    heaviest_first = sorted(visited.weight().items(), key=lambda pair: -pair[1])
    total = sum(size for _, size in heaviest_first)
    assert MEGABYTE / 2 < total < 5 * MEGABYTE, heaviest_first[:5]
    _assert_accessible(visited.page)
    by_day = _shots(visited)
    visited.show(theme="dark")
    _assert_accessible(visited.page, {"runOnly": COLOURS})
    _assert_no_glare(by_day, _shots(visited))
    if page in CHAPTERS:
        assert visited.page.locator("mjx-container[display=true] > svg").count() > 0
        assert by_day[DRAWN]
        _assert_sliders_move(visited.page)
    visited.show(width=390)
    _assert_fits(visited.page)
    _assert_figures_legible(visited.page)
    _assert_marks_stay_with_formulas(visited.page)
    layout = {"rules": {name: {"enabled": False} for name in COLOURS}}
    _assert_accessible(visited.page, layout)
    assert_clean(visited)


COLOURS = ["color-contrast", "link-in-text-block"]


def _assert_accessible(page, rules=None):
    options = {**(rules or {}), "resultTypes": ["violations"], "preload": False}
    found = Axe().run(page, options=options).response["violations"]
    serious = [
        (violation["id"], node["target"], node["failureSummary"])
        for violation in found
        if violation["impact"] in ("critical", "serious")
        for node in violation["nodes"]
    ]
    assert not serious


def _assert_fits(page):
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def _assert_figures_legible(page):
    """12 pt of a figure are 9 px or more; where it scrolls its slider stays in view."""
    for figure in page.locator(".text_html > .viz-frames").all():
        shown = figure.locator("figure:visible img")
        drawn = int(shown.get_attribute("width"))
        assert shown.evaluate("image => image.clientWidth") >= 0.54 * drawn, drawn
        figure.evaluate("frames => { frames.parentElement.scrollLeft = 999 }")
        for part in figure.locator("label, figcaption:visible").all():
            box = part.bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 390


def _assert_marks_stay_with_formulas(page):
    """No line begins with the full stop of a formula."""
    torn = """[...document.querySelectorAll("article span.math")].filter(
        (formula) => formula.getClientRects().length > 1
          || formula.nextSibling?.nodeType === Node.TEXT_NODE
             && /^[,.;:)]/.test(formula.nextSibling.data)
    ).map((formula) => formula.parentElement.textContent)"""
    assert page.evaluate(torn) == []


def _assert_formulas(page):
    assert page.locator("mjx-merror, [data-mjx-error]").count() == 0
    undefined = "mjx-container [data-mml-node='mtext'][fill='red']"
    assert page.locator(undefined).count() == 0
    assert page.locator(".math:not(:has(mjx-container > svg))").count() == 0
    text = page.locator("article").inner_text()
    assert "$$" not in text
    assert "\\(" not in text
    assert "\\[" not in text
    for hint in page.locator("article details:not(:has(pre))").all_text_contents():
        assert not re.search(r"\$|\{\w+\}`", hint), hint  # HTML knows no roles


@pytest.mark.parametrize("page", PAGES)
def test_page_from_a_folder_on_a_phone_at_night(visit, html, page):
    visited = visit(f"{html.as_uri()}/{page}", theme="dark", width=390)
    assert visited.page.evaluate("document.documentElement.dataset.theme") == "dark"
    _assert_formulas(visited.page)
    _assert_fits(visited.page)
    if page in CHAPTERS:
        _assert_sliders_move(visited.page)
    assert_clean(visited)


def _assert_sliders_move(page):
    """By keyboard and mouse the frame, the value shown and the value spoken change."""
    groups = page.locator(".viz-frames[role=group]").all()
    assert groups
    for group in groups:
        slider, figures = group.get_by_role("slider"), group.locator("figure")
        last = figures.count() - 1
        assert last > 0
        slider.focus()
        page.keyboard.press("Home")
        _assert_shows(group, 0)
        page.keyboard.press("ArrowRight")
        _assert_shows(group, 1)
        page.keyboard.press("ArrowLeft")
        _assert_shows(group, 0)
        slider.scroll_into_view_if_needed()
        box = slider.bounding_box()
        middle = box["y"] + box["height"] / 2
        page.mouse.click(box["x"] + box["width"] - 4, middle)
        _assert_shows(group, last)


def _assert_shows(group, index):
    figures = group.locator("figure").all()
    assert [f.is_visible() for f in figures] == [
        k == index for k in range(len(figures))
    ]
    label = figures[index].get_attribute("data-label")
    assert group.locator("output").inner_text() == label
    assert group.get_by_role("slider").get_attribute("aria-valuetext") == label


def test_search_finds(visit, base):
    visited = visit(f"{base}/book/intro.html")
    visited.page.keyboard.press("Control+k")
    visited.page.keyboard.type("soft thresholding")
    visited.page.keyboard.press("Enter")
    visited.page.wait_for_selector("#search-results li a")
    titles = visited.page.locator("#search-results li > a").all_inner_texts()
    assert any("Proximal gradient" in title for title in titles)
    assert_clean(visited)


def _assert_no_glare(light, dark):
    """Drawn figures take the page's brightness; photographs are dimmed."""
    for by_day, by_night in zip(light[DRAWN], dark[DRAWN], strict=True):
        assert ImageStat.Stat(by_day).median[0] > 200
        assert ImageStat.Stat(by_night).median[0] < 60
    for by_day, by_night in zip(light[PHOTO], dark[PHOTO], strict=True):
        _, brightest = by_night.getextrema()
        assert brightest <= 210
        assert brightest < by_day.getextrema()[1]


DRAWN, PHOTO = ".viz-frames:not(.viz-photo)", ".viz-photo"


def _shots(visited):
    return {
        kind: [
            Image.open(io.BytesIO(image.screenshot())).convert("L")
            for image in visited.page.locator(f"{kind} figure:visible img").all()
        ]
        for kind in (DRAWN, PHOTO)
    }
