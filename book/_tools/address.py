"""Set the repository's public address everywhere it is needed.

    python book/_tools/address.py https://github.com/OWNER/NAME [--branch main]

It is written into _config.yml and README.md (between their ``address`` marks),
pyproject.toml, CITATION.cff and the bootstrap cell of every notebook. Doing it twice
changes nothing more; doing it with another address replaces the first.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import nbformat
from refresh import notebooks, write_bootstrap

COLAB = "https://colab.research.google.com"


def set_address(root: Path, url: str, branch: str = "main") -> None:
    """Write the address into the tree under ``root``.

    Raises:
        ValueError: if ``url`` is not a GitHub repository, or a file has lost its mark.
    """
    match = re.fullmatch(r"(https://github\.com/([\w.-]+/[\w.-]+?))(\.git)?/?", url)
    if not match:
        raise ValueError(
            f"url={url!r} must be https://github.com/OWNER/NAME: "
            "Colab opens notebooks from GitHub only"
        )
    url, repository = match[1], match[2]
    book = root / "book"
    links = [
        f"- [{_title(path)}]({COLAB}/github/{repository}/blob/{branch}/"
        f"{path.relative_to(root).as_posix()})"
        for path in _chapters(root)
    ]
    config = f"""\
repository:
  url: {url}
  branch: {branch}
launch_buttons:
  colab_url: {COLAB}
html:
  use_repository_button: true
  use_issues_button: true
"""
    _replace(
        root / "_config.yml",
        r"(?s)(?<=# address: begin).*?\n(?=# address: end)",
        f" (written by book/_tools/address.py)\n{config}",
    )
    _replace(
        root / "README.md",
        r"(?s)(?<=<!-- address:colab -->\n).*?(?=<!-- /address:colab -->)",
        "\n".join(links) + "\n",
    )
    _set_line(root / "CITATION.cff", "repository-code: ", url)
    _set_line(root / "pyproject.toml", "[project.urls]\nRepository = ", url)
    bootstrap = book / "_tools" / "bootstrap.py"
    _replace(bootstrap, r'(?m)(?<=^ADDRESS = )"[^"]*"', f'"git+{url}@{branch}"')
    for path in notebooks(book):
        notebook = nbformat.read(path, as_version=4)
        write_bootstrap(notebook, bootstrap.read_text(encoding="utf-8"))
        path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def _chapters(root: Path) -> list[Path]:
    """The notebooks in the order of the table of contents."""
    pages = re.findall(r"file: (\S+)", (root / "_toc.yml").read_text(encoding="utf-8"))
    return [path for page in pages if (path := root / f"{page}.ipynb").exists()]


def _title(path: Path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    return cells[0].source.splitlines()[0].removeprefix("# ")


def _replace(path: Path, pattern: str, new: str) -> None:
    text, count = re.subn(pattern, lambda _: new, path.read_text(encoding="utf-8"))
    if count != 1:
        raise ValueError(
            f"{path.name} has {count} places for the address, expected one"
        )
    path.write_text(text, encoding="utf-8")


def _set_line(path: Path, start: str, url: str) -> None:
    """Set the line ``start"url"``, at the end of the file if it is not there yet."""
    text = path.read_text(encoding="utf-8")
    if start not in text:
        text = f'{text.rstrip()}\n\n{start}""\n'
    text = re.sub(re.escape(start) + ".*", lambda _: f'{start}"{url}"', text)
    path.write_text(text, encoding="utf-8")


def main() -> int:
    """Read the command line; 2 if it is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="https://github.com/OWNER/NAME")
    parser.add_argument("--branch", default="main")
    options = parser.parse_args()
    try:
        set_address(Path(__file__).parents[2], options.url, options.branch)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
