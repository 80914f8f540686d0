"""The mark is what its script draws, and every page shows it."""

import io

import logo
import numpy as np
from bs4 import BeautifulSoup
from PIL import Image


def test_the_files_are_what_the_script_draws():
    assert (logo.STATIC / "logo.svg").read_bytes() == logo.logo()
    stored = Image.open(logo.STATIC / "preview.png").convert("RGB")
    drawn = Image.open(io.BytesIO(logo.preview())).convert("RGB")
    assert stored.size == drawn.size == (1200, 630)
    # Another matplotlib smooths an edge otherwise.
    apart = np.abs(np.asarray(stored, dtype=int) - np.asarray(drawn, dtype=int))
    assert apart.mean() < 1


def test_every_page_has_the_icon_and_the_mark(html):
    pages = [*html.glob("book/**/*.html")]
    assert len(pages) > 20
    for page in pages:
        soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
        icon = soup.find("link", rel="icon")["href"]
        mark = soup.find("img", class_="logo__image")["src"]
        for path in (icon, mark):
            assert (page.parent / path).read_bytes() == logo.logo()
