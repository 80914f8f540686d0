"""Figures are legible, reproducible, accessible HTML."""

import itertools
import re
from urllib.parse import unquote
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pytest
from bs4 import BeautifulSoup

from ece661_sparse import viz

viz.use_style()


@pytest.fixture(autouse=True)
def no_figure_is_left_open():
    yield
    assert plt.get_fignums() == []


def line(height=1.0):
    fig, ax = plt.subplots()
    ax.plot([0, 1], [0, height], label="a <line>")
    ax.set(ylim=(0, 3))
    ax.legend()
    return fig


ALTS = ["low", 'a "high" <line>', "top"]


def slider(**options):
    figs, labels = [line(1), line(2), line(3)], ["h = 1", "h < 2", "h = 3"]
    options = {"name": "height & more", "alts": ALTS} | options
    return viz.frame_slider(figs, labels, **options)


def parsed(frames):
    return BeautifulSoup(frames._repr_html_(), "html.parser")


def test_show_is_one_image_with_its_text_and_caption():
    shown = viz.show(line(), "a line", "It <rises>.")
    (image,) = parsed(shown).find_all("img")
    assert image["alt"] == "a line"
    assert image["src"].startswith("data:image/svg+xml,")
    assert parsed(shown).figcaption.text == "It <rises>."
    assert not parsed(shown).find("input")
    assert repr(shown) == "Figure: a line"


def test_slider_shows_one_frame_and_names_every_part():
    page = parsed(slider(start=1))
    assert [f.has_attr("hidden") for f in page("figure")] == [True, False, True]
    assert [image["alt"] for image in page("img")] == ALTS
    group, control = page.find(role="group"), page.find("input")
    assert group["aria-label"] == control["aria-label"] == "height & more"
    assert (control["min"], control["max"], control["value"]) == ("0", "2", "1")
    assert control["aria-valuetext"] == page.output.text == "h < 2"
    assert control["data-lm-suppress-shortcuts"] == "true"
    assert repr(slider()) == "Slider 'height & more': 3 frames, h = 1 to h = 3"


def test_html_works_in_every_front_end_and_refers_to_nothing_outside():
    html = slider()._repr_html_()
    page = BeautifulSoup(html, "html.parser")
    assert not page.find(["script", "link", "style"])
    assert not page.find(id=True)
    assert "http" not in re.sub(r'src="data:[^"]*"', "", html)
    for image in page.find_all("img"):
        assert "background:#fff" in image["style"]  # dark mode without our style sheet


@pytest.mark.parametrize("fmt", ["svg", "png"])
def test_the_same_figure_gives_the_same_bytes(fmt):
    assert slider(fmt=fmt)._repr_html_() == slider(fmt=fmt)._repr_html_()


def test_fonts_travel_as_outlines_and_no_date_is_stored():
    source = parsed(viz.show(line(), "a line")).img["src"]
    svg = unquote(source.split(",", 1)[1])
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert "<text" not in svg
    assert "<dc:date>" not in svg


def test_all_frames_have_one_size():
    sizes = {(image["width"], image["height"]) for image in parsed(slider())("img")}
    assert sizes == {("560", "350")}


def test_photo_is_marked_for_the_style_sheet():
    assert parsed(viz.show(line(), "a digit", photo=True)).select(".viz-photo img")
    assert not parsed(viz.show(line(), "a line")).select(".viz-photo")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alts": ["low", "high"]}, "alts must be a list with one text for each of"),
        ({"alts": "abc"}, "alts must be a list"),
        ({"alts": ["low", " ", "top"]}, "alt must say what the figure shows"),
        ({"start": 3}, "start=3 must be in 0..2"),
        ({"fmt": "gif"}, "fmt='gif' must be one of svg, png"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        slider(**options)
    plt.close("all")


def test_no_figures():
    with pytest.raises(ValueError, match="figs is empty"):
        viz.frame_slider([], [], name="x", alts=[])


# Linear-light simulation of missing cones (Machado et al. 2009, severity 1).
EYES = {
    "all cones": np.eye(3),
    "red-blind": np.array([
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ]),
    "green-blind": np.array([
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]),
}  # fmt: skip
XYZ = np.array([
    [0.4124, 0.3576, 0.1805],
    [0.2126, 0.7152, 0.0722],
    [0.0193, 0.1192, 0.9505],
])  # fmt: skip


def linear(colour):
    rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    x, y, z = np.cbrt(XYZ @ np.clip(rgb, 1e-4, 1) / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eye", EYES)
def test_any_two_colours_stay_apart(eye):
    common, *parts = viz.PALETTES.values()
    for part in parts:
        seen = {n: lab(EYES[eye] @ linear(c)) for n, c in (common | part).items()}
        for (a, at_a), (b, at_b) in itertools.combinations(seen.items(), 2):
            assert np.linalg.norm(at_a - at_b) > 10, (a, b)


def test_colours_are_visible_on_white():
    for name, colour in viz.COLORS.items():
        luminance = float((XYZ @ linear(colour))[1])
        assert 1.05 / (luminance + 0.05) > 2.5, name
