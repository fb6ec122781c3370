import math
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kompakt_training.svg_chart import Dot, Line, Mark, rate_distortion_chart


def line(name, *places):
    dots = [Dot(num_bytes=x, psnr_db=y, title=f"{name} at {x}") for x, y in places]
    return Line(name=name, style="s-x", dots=dots)


def parse(chart):
    """The drawing, and the legend's texts."""
    root = ElementTree.fromstring(f"<div>{chart}</div>")
    return root.find("div/svg"), ["".join(item.itertext()) for item in root.iter("li")]


def texts(svg):
    return [element.text for element in svg.iter("text")]


def centres(svg):
    """Of the circles, by their titles."""
    return {
        circle.find("title").text: (float(circle.get("cx")), float(circle.get("cy")))
        for circle in svg.iter("circle")
    }


def test_smaller_is_further_left_and_better_further_up():
    svg, legend = parse(
        rate_distortion_chart(
            line("ours", (10, 20), (20, 24), (40, 28)), [line("WebP", (80, 24))], []
        )
    )

    ours = [centres(svg)[f"ours at {rate}"] for rate in (10, 20, 40)]
    webp = centres(svg)["WebP at 80"]
    assert legend == ["ours", "WebP"]
    assert ours[0][0] < ours[1][0] < ours[2][0] < webp[0]
    assert ours[0][1] > ours[1][1] > ours[2][1]
    assert webp[1] == ours[1][1]
    assert ours[1][0] - ours[0][0] == pytest.approx(webp[0] - ours[2][0], abs=0.2)  # both twice


def test_lossless_marks_stand_at_the_edge_with_their_names():
    marks = [Mark(name="ZIP", num_bytes=300), Mark(name="PNG", num_bytes=280)]

    svg, _ = parse(rate_distortion_chart(line("ours", (10, 20)), [], marks))

    titles = [p.find("title").text for p in svg.iter("path") if p.get("class") == "mark"]
    assert titles == ["PNG: 280.0 bytes, lossless", "ZIP: 300.0 bytes, lossless"]
    anchors = {t.text: t.get("text-anchor") for t in svg.iter("text") if t.text in ("ZIP", "PNG")}
    assert anchors == {"PNG": "end", "ZIP": "start"}


def test_names_are_escaped_and_dots_without_error_left_out():
    svg, legend = parse(
        rate_distortion_chart(line("<a&b>", (10, 20)), [line("c", (9, 21), (20, math.inf))], [])
    )

    assert legend == ["<a&b>", "c"]
    assert set(centres(svg)) == {"<a&b> at 10", "c at 9"}


def test_without_a_finite_dot_of_ours_nothing_is_drawn():
    assert rate_distortion_chart(line("ours", (10, math.inf)), [line("c", (9, 21))], []) == ""


@given(
    st.lists(st.tuples(st.floats(2, 1e6), st.floats(1, 80)), min_size=1, max_size=13),
    st.lists(st.tuples(st.floats(2, 1e6), st.floats(1, 80)), max_size=5),
)
def test_every_chart_holds_our_dots_and_has_some_ticks(ours, theirs):
    svg, _ = parse(rate_distortion_chart(line("ours", *ours), [line("c", *theirs)], []))

    for title, (x, y) in centres(svg).items():
        if title.startswith("ours"):
            assert 56 <= x <= 744
            assert 34 <= y <= 372
    assert 7 <= len(texts(svg)) <= 40
