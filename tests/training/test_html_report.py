import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from kompakt_codec.codec import Codec
from kompakt_training import html_report
from kompakt_training.curves import Point
from kompakt_training.html_report import write_html_report
from kompakt_training.html_tables import gigabytes, grouped, image_tag
from kompakt_training.study import TITLES, Study

VOID = {"meta", "img", "br", "link"}
NUM_IMAGES = 3


class Page(HTMLParser):
    """A page's tags, attributes and cells, and whether its tags are balanced."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.values, self.rows = [], set(), [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.values += attrs
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        self.values += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "tr" in self.open:
            self.rows[-1].append(data)


@pytest.fixture(scope="module")
def codec(level_checkpoint):
    return Codec.load(level_checkpoint)


@pytest.fixture(scope="module")
def text(codec, digits, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_html_report(path, codec, digits[:NUM_IMAGES], models=Path("my runs/a&b"), num_seen=3)
    return path.read_text("utf-8")


def test_the_page_stands_alone_and_is_light_and_dark(text):
    page = Page(text)

    assert not page.tags & {"script", "link", "iframe", "object"}
    sources = [value for name, value in page.values if name in ("src", "href")]
    assert len(sources) == NUM_IMAGES * 7
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not re.search(r"https?://|@import|url\((?!#)", text)
    assert "@media (prefers-color-scheme: dark)" in text


def test_every_colour_of_the_chart_is_in_both_palettes(text):
    styles = set(re.findall(r'class="line (s-[a-z0-9-]+)"', text))

    assert styles == {"s-model", "s-webp", "s-jpeg", "s-avif", "s-jpeg-xl", "s-jpeg-2000"}
    for style in styles:
        assert text.count(f"  --{style.removeprefix('s-')}:") + text.count(f"; --{style[2:]}:") == 2
        assert f".{style} path" in text


def test_the_tables_hold_what_was_measured(text, codec, digits):
    study = Study.of(codec, digits[:NUM_IMAGES])
    rows = Page(text).rows

    own = study.own
    sizes = [row[2] for row in rows if row[0] in TITLES.values() and len(row) == 7]
    assert len(sizes) == len(TITLES)
    assert ["tiny-levels", "level=2", f"{own.bytes_per_image:.1f}", "1.00"] in [r[:4] for r in rows]
    for point in study.model:
        assert [point.setting, f"{point.bytes_per_image:.1f}"] in [row[:2] for row in rows]
    assert f"takes {study.best.bytes_per_image:.1f}." in text
    assert "held out that were trained on too, as copies: 3." in text


def test_the_commands_are_quoted_for_the_shell_and_for_the_page(text):
    assert "<pre>kompakt serve --models &#x27;my runs/a&amp;b&#x27;</pre>" in text
    assert "<pre>kompakt compress image.png -o image.kpt --model tiny-levels</pre>" in text
    assert "<pre>untrained</pre>" in text


def test_the_page_is_the_same_on_a_second_run(text, codec, digits, tmp_path):
    again = tmp_path / "again.html"
    write_html_report(again, codec, digits[:NUM_IMAGES], models=Path("my runs/a&b"), num_seen=3)

    assert again.read_text("utf-8") == text


@pytest.mark.parametrize(
    ("best", "words"),
    [
        (
            50,
            [
                "A million images take 20,000,000 bytes (0.020 GB) instead of 50,000,000 ",
                "(0.050 GB): 30,000,000 bytes (0.030 GB) are saved",
                "2.50 times smaller",
                "saved on a million images",
            ],
        ),
        (
            10,
            ["takes 10.0, no more than this one:", "2.00 times larger", "lost on a million images"],
        ),
    ],
)
def test_a_codec_is_told_its_worth(tmp_path, monkeypatch, codec, digits, best, words):
    study = Study(
        codec=codec,
        images=digits[:NUM_IMAGES],
        model=[Point(codec="ours", setting="", bytes_per_image=20, mse=0.002)] * len(codec.levels),
        curves={},
        lossless=[Point(codec="deflate", setting="", bytes_per_image=best, mse=0)],
        equal={"webp": None},
        unavailable=["no JPEG XL here"],
    )
    monkeypatch.setattr(html_report.Study, "of", lambda *_: study)

    write_html_report(tmp_path / "page.html", codec, digits, models=tmp_path)

    text = (tmp_path / "page.html").read_text("utf-8")
    assert all(word in text for word in words)
    assert "<td>WebP</td><td>does not reach it</td>" in text
    assert "Left out: no JPEG XL here." in text


def test_numbers_are_written_as_people_read_them():
    assert grouped(1234567.4) == "1,234,567"
    assert [gigabytes(n) for n in (0, 12.6e6, 3.456e9, 1.24e12)] == [
        "0.000 GB",
        "0.013 GB",
        "3.46 GB",
        "1,240 GB",
    ]


def test_small_images_are_enlarged_by_whole_factors_and_large_ones_shrunk(digits):
    assert 'class="sharp" width="112" height="112"' in image_tag(digits[0], label="a")
    large = digits[0].repeat(10, axis=0).repeat(20, axis=1)
    assert '<img width="192" height="96"' in image_tag(large, label="a")
