"""The built book stands alone: no dead link inside it, nothing loaded from outside."""

import re
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

LOADED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
    "object": "data",
    "link": "href",
}


@pytest.fixture(scope="module")
def pages(html):
    return {
        path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for path in html.rglob("*.html")
        if "_static" not in path.parts
    }


def test_no_dead_internal_link(html, pages):
    anchors = {
        path: {tag["id"] for tag in soup.find_all(id=True)}
        for path, soup in pages.items()
    }
    dead = []
    for path, soup in pages.items():
        for tag in soup.find_all("a", href=True):
            link = urlsplit(tag["href"])
            if link.scheme or link.netloc:
                continue
            target = (path.parent / unquote(link.path)).resolve() if link.path else path
            known = anchors.get(target)
            if not target.exists() or (
                known and link.fragment and unquote(link.fragment) not in known
            ):
                dead.append(f"{path.relative_to(html)}: {tag['href']}")
    assert not dead
    assert sum(len(soup.find_all("a", href=True)) for soup in pages.values()) > 50


def test_nothing_is_loaded_from_outside(html, pages):
    outside = [
        f"{path.relative_to(html)}: {tag[attribute]}"
        for path, soup in pages.items()
        for name, attribute in LOADED.items()
        for tag in soup.find_all(name, **{attribute: re.compile(r"^(https?:)?//")})
    ]
    assert not outside
    sheets = list(html.rglob("*.css"))
    imports = re.compile(r"(?:@import|url\()\s*['\"]?(?:https?:)?//")
    assert sheets
    assert not [s for s in sheets if imports.search(s.read_text(encoding="utf-8"))]


def test_what_a_page_loads_is_there(html, pages):
    missing = [
        f"{path.relative_to(html)}: {tag[attribute]}"
        for path, soup in pages.items()
        for name, attribute in LOADED.items()
        for tag in soup.find_all(name, **{attribute: True})
        if not (link := urlsplit(tag[attribute])).scheme
        and link.path
        and not (path.parent / unquote(link.path)).exists()
    ]
    assert not missing
