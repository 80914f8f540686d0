"""The built book, a server for it, and a browser without a network."""

import os
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from filelock import FileLock

sys.path.insert(0, str(Path(__file__).parents[2] / "book" / "_tools"))
import chromium

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def html(tmp_path_factory) -> Path:
    """The folder of the built book; built once, with warnings as errors."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    output = shared / "built"
    with FileLock(shared / "built.lock"):
        if not output.exists():
            command = [Path(sys.executable).with_name("jupyter-book"), "build", ROOT]
            options = ["-W", "-n", "--keep-going", "--path-output", output]
            done = subprocess.run([*command, *options], capture_output=True, text=True)
            (shared / "built.log").write_text(done.stdout + done.stderr)
            (shared / "built.code").write_text(str(done.returncode))
    if (shared / "built.code").read_text() != "0":
        pytest.fail("the book does not build:\n" + (shared / "built.log").read_text())
    return output / "_build" / "html"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def server(html):
    """The address of a local server of the built book."""
    handler = partial(_Quiet, directory=str(html))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


@pytest.fixture(scope="session")
def executable() -> str:
    """Chromium from the machine; without one the tests skip, or fail where required."""
    path = chromium.find()
    if path is None:
        if os.environ.get("ECE661_REQUIRE_BROWSER") == "1":
            pytest.fail(chromium.NOT_FOUND)
        pytest.skip(chromium.NOT_FOUND)
    return path


@pytest.fixture(scope="session")
def browser(executable):
    """One browser for all pages."""
    from playwright.sync_api import sync_playwright

    quiet = ("background-networking", "component-update", "sync", "gpu")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=executable,
            args=["--no-sandbox", *(f"--disable-{name}" for name in quiet)],
        )
        yield launched
        launched.close()


class Visit:
    """One page in the browser, and everything that went wrong on it."""

    def __init__(self, context, address: str) -> None:
        self.errors: list[str] = []
        self.external: list[str] = []
        self._responses: list = []
        self._origin = "/".join(address.split("/", 3)[:3])
        context.route("**/*", self._cut)
        self.page = context.new_page()
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._listen)
        self.page.on("requestfailed", lambda request: self.errors.append(request.url))
        self.page.on("response", lambda response: self._responses.append(response))
        self.page.goto(address)
        self.page.wait_for_function(
            "!window.MathJax?.startup?.promise || "
            "MathJax.startup.promise.then(() => true)"
        )

    def _cut(self, route) -> None:
        url = route.request.url
        if url.startswith(("data:", "blob:", "file:", self._origin)):
            route.continue_()
        else:
            self.external.append(url)
            route.abort()

    def _listen(self, message) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def show(self, *, theme: str | None = None, width: int | None = None) -> None:
        """The same page in another theme or width, its transitions over."""
        if width:
            self.page.set_viewport_size({"width": width, "height": 900})
            self.page.wait_for_timeout(600)  # the theme waits for the size to settle
        if theme:
            self.page.emulate_media(color_scheme=theme)
            arrived = f"document.documentElement.dataset.theme == '{theme}'"
            self.page.wait_for_function(arrived)
        self.page.evaluate(
            "new Promise(requestAnimationFrame).then(() => "
            "document.getAnimations().forEach((x) => x.finish()))"
        )

    def weight(self) -> dict[str, int]:
        """Bytes of everything the page has loaded over http."""
        loaded = {r.url: r for r in self._responses if r.url.startswith("http")}
        return {url: len(response.body()) for url, response in loaded.items()}


@pytest.fixture
def visit(browser):
    """Open a page: ``visit(address, theme=..., width=...)``."""
    contexts = []

    def open_page(address: str, *, theme: str = "light", width: int = 1280) -> Visit:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=theme
        )
        contexts.append(context)
        return Visit(context, address)

    yield open_page
    for context in contexts:
        context.close()
