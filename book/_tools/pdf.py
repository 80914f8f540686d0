"""The built book as one PDF with an outline: `make pdf`.

Every page is printed by Chromium, with the print rules of custom.css, in the order of
_toc.yml. A slider shows the frame that it opens with.
"""

import io
import sys
from collections.abc import Iterable
from pathlib import Path

import chromium
import yaml
from playwright.sync_api import Browser, sync_playwright
from pypdf import PdfReader, PdfWriter

ROOT = Path(__file__).parents[2]
FORMULAS_ARE_DRAWN = """typeof MathJax === "undefined"  // a page without formulas
    || MathJax.startup.promise.then(() => true)"""


def pages(toc: Path = ROOT / "_toc.yml") -> list[tuple[str, str]]:
    """The part that a page belongs to ("" for the first page), and the page's name."""
    found = yaml.safe_load(toc.read_text(encoding="utf-8"))
    result = [("", found["root"])]
    for part in found["parts"]:
        for chapter in part["chapters"]:
            for entry in (chapter, *chapter.get("sections", ())):
                result.append((part["caption"], entry["file"]))
    return result


def write(
    browser: Browser, html: Path, target: Path, wanted: Iterable[tuple[str, str]]
) -> None:
    """Print pages of the book in the folder ``html`` into the file ``target``."""
    book, part, part_item = PdfWriter(), "", None
    page = browser.new_page(color_scheme="light")
    for caption, name in wanted:
        page.goto((html / f"{name}.html").as_uri())
        page.wait_for_function(FORMULAS_ARE_DRAWN)
        margin = dict.fromkeys(("top", "bottom", "left", "right"), "16mm")
        printed = page.pdf(format="A4", print_background=True, margin=margin)
        first = len(book.pages)
        book.append(io.BytesIO(printed), import_outline=False)
        if caption != part:
            part = caption
            part_item = book.add_outline_item(title=part, page_number=first)
        title = page.locator("h1").first.evaluate("h => h.firstChild.textContent")
        book.add_outline_item(title=title, page_number=first, parent=part_item)
    page.close()
    book.write(target)


if __name__ == "__main__":
    executable = chromium.find()
    if executable is None:
        sys.exit(chromium.NOT_FOUND)
    target = ROOT / "_build" / "book.pdf"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox"]
        )
        write(browser, ROOT / "_build" / "html", target, pages())
        browser.close()
    print(f"{target}: {len(PdfReader(target).pages)} pages")
