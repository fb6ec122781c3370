"""`kompakt compress` and `kompakt decompress`, against the fake server."""

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.client.conftest import pixels, write_png
from tests.client.fake_codec import pixels_in


def read_image(path):
    return np.asarray(Image.open(path))[..., None]


def format_of(path):
    with Image.open(path) as image:
        return image.format


def names_in(directory):
    return sorted(path.name for path in directory.iterdir())


def stored(path):
    return pixels_in(path.read_bytes())


def test_a_file_goes_there_and_back(run, tmp_path):
    write_png(tmp_path / "digit.png")

    status, out, err = run("compress", "digit.png", "-o", "digit.kpt", "--model", "fake-vae")
    assert (status, err) == (0, [])
    assert out == "digit.kpt: 797 bytes, 8.133 bits per pixel\n"

    status, out, err = run("decompress", "digit.kpt", "-o", "back.png")
    assert (status, err) == (0, [])
    assert out == "back.png: 28 x 28 pixels, by fake-ae\n"
    assert np.array_equal(read_image(tmp_path / "back.png"), pixels(0))


def test_a_command_can_be_repeated(run, tmp_path):
    write_png(tmp_path / "a.png")

    assert [run("compress", "a.png", "-o", "b.kpt")[0] for _ in range(2)] == [0, 0]


def test_one_file_goes_into_a_directory_that_exists(run, tmp_path):
    write_png(tmp_path / "digit.png")
    (tmp_path / "out").mkdir()

    assert run("compress", "digit.png", "-o", "out")[0] == 0
    assert run("compress", "digit.png", "-o", "new/")[0] == 0

    assert (tmp_path / "out" / "digit.kpt").is_file()
    assert (tmp_path / "new" / "digit.kpt").is_file()


def test_directories_are_made_for_one_file(run, tmp_path):
    write_png(tmp_path / "digit.png")

    assert run("compress", "digit.png", "-o", "a/b/c.kpt")[0] == 0

    assert (tmp_path / "a" / "b" / "c.kpt").is_file()


def test_several_files_keep_their_names(run, tmp_path):
    for seed in range(3):
        write_png(tmp_path / f"{seed}.v1.png", seed)

    status, out, _ = run("compress", "0.v1.png", "1.v1.png", "2.v1.png", "-o", "out")

    assert status == 0
    assert out == "compressed 3 of 3 images: 2391 bytes, 797.0 an image, 8.133 bits per pixel\n"
    names = ["0.v1.kpt", "1.v1.kpt", "2.v1.kpt"]
    assert names_in(tmp_path / "out") == names
    assert [stored(tmp_path / "out" / n) for n in names] == [pixels(i).tobytes() for i in range(3)]


def test_a_directory_goes_there_and_back(run, tmp_path):
    for seed in range(150):
        write_png(tmp_path / "images" / f"{seed:03}.PNG", seed)
    write_png(tmp_path / "images" / "deeper" / "no.png")
    for name in ("notes.txt", "b.md", "c", "d.csv"):
        (tmp_path / "images" / name).write_text("not an image")

    status, _, err = run("compress", "images", "-o", "streams")
    assert status == 0
    assert err == ["kompakt: images: skipped 4 files with other suffixes: b.md, c, d.csv, …"]

    status, out, err = run("decompress", "streams", "-o", "back")
    assert (status, err) == (0, [])
    assert out == "decompressed 150 of 150 images\n"
    assert np.array_equal(read_image(tmp_path / "back" / "149.png"), pixels(149))


def test_a_directory_of_one_image_makes_a_directory(run, tmp_path):
    write_png(tmp_path / "images" / "one.png")

    assert run("compress", "images", "-o", "out")[0] == 0

    assert (tmp_path / "out" / "one.kpt").is_file()


def test_files_that_fail_do_not_stop_the_others(run, tmp_path):
    write_png(tmp_path / "good.png", 1)
    write_png(tmp_path / "tall.png", 2, height=99)
    (tmp_path / "bad.png").write_bytes(b"no image")
    write_png(tmp_path / "last.png", 3)

    status, out, err = run(
        *("compress", "missing.png", "good.png", "tall.png", "bad.png", "last.png", "-o", "out")
    )

    assert status == 1
    assert "compressed 2 of 5 images" in out
    assert err == [
        "kompakt: missing.png: No such file or directory",
        "kompakt: tall.png: the model accepts at most 64 rows, not 99",
        "kompakt: bad.png: not an image",
    ]
    assert names_in(tmp_path / "out") == ["good.kpt", "last.kpt"]
    assert stored(tmp_path / "out" / "last.kpt") == pixels(3).tobytes()


def test_a_file_over_the_limit_on_a_message_is_told_by_its_size(run, tmp_path):
    (tmp_path / "a.png").write_bytes(bytes(70_000_000))

    status, _, [line] = run("compress", "a.png", "-o", "a.kpt")

    assert status == 1
    assert re.fullmatch(
        r"kompakt: a.png: a message of 700000\d\d bytes is over the client's limit of "
        r"67108864 bytes",
        line,
    )


def test_one_file_that_fails_writes_nothing(run, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")

    status, out, err = run("compress", "bad.png", "-o", "bad.kpt")

    assert (status, out, err) == (1, "", ["kompakt: bad.png: not an image"])
    assert not (tmp_path / "bad.kpt").exists()


def test_a_file_that_cannot_be_written_is_told(run, tmp_path):
    write_png(tmp_path / "a.png")
    write_png(tmp_path / "b.png")
    (tmp_path / "out" / "a.kpt").mkdir(parents=True)

    status, _, err = run("compress", "a.png", "b.png", "-o", "out")

    assert (status, err) == (1, ["kompakt: out/a.kpt: Is a directory"])
    assert (tmp_path / "out" / "b.kpt").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.png", "sub/a.png", "-o", "out"], "a.png and sub/a.png would both be written to"),
        (["a.png", "a.gif", "-o", "out"], "a.png and a.gif would both be written to out/a.kpt"),
        (["a.png", "-o", "a.png"], "a.png would be overwritten: choose another output"),
        (["a.png", "b.png", "-o", "file"], "file must be a directory to hold several files"),
        (["sub", "-o", "file"], "file must be a directory to hold several files"),
        (["a.png", "b.png", "-o", "two.kpt"], "two.kpt is the name of one file: name a directory"),
        (["sub", "-o", "two.kpt"], "two.kpt is the name of one file: name a directory for several"),
        (["a.png", "-o", "file/a.kpt"], "file is no directory, so nothing can be written to file/"),
        (["a.png", "b.png", "-o", "file/out"], "file is no directory, so nothing can be written"),
        (["empty", "-o", "out"], "no .png, .jpg, .jpeg, .webp"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_done(
    run, fake, tmp_path, arguments, message
):
    for name in ("a.png", "a.gif", "b.png", "sub/a.png"):
        write_png(tmp_path / name)
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()

    status, out, err = run("compress", *arguments)

    assert (status, out) == (2, "")
    assert len(err) == 1
    assert err[0].startswith("kompakt: ")
    assert message in err[0]
    assert fake.calls == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("out", "options", "expected"),
    [
        ("back.webp", [], "WEBP"),
        ("back.BMP", [], "BMP"),
        ("back.tif", [], "TIFF"),
        ("back.jpg", [], "JPEG"),
        ("back", [], "PNG"),
        ("back.anything", ["--format", "webp"], "WEBP"),
        ("back.gif", ["--format", "bmp"], "BMP"),
        ("back.JPEG", ["--format", "jpeg"], "JPEG"),
    ],
)
def test_the_format_comes_of_the_option_or_the_suffix(run, tmp_path, out, options, expected):
    run("compress", write_png(tmp_path / "a.png"), "-o", "a.kpt")

    assert run("decompress", "a.kpt", "-o", out, *options)[0] == 0

    assert format_of(tmp_path / out) == expected


def test_an_unknown_suffix_is_refused(run, tmp_path):
    run("compress", write_png(tmp_path / "a.png"), "-o", "a.kpt")

    status, _, err = run("decompress", "a.kpt", "-o", "a.gif")

    assert status == 2
    assert err == [
        "kompakt: a.gif: cannot tell the format from '.gif'; an image is written as "
        ".png, .webp, .bmp, .tiff, .tif, .jpg, .jpeg, or choose with --format"
    ]


def test_a_suffix_of_another_format_is_refused(run, fake, tmp_path):
    (tmp_path / "a.kpt").touch()

    assert run("decompress", "a.kpt", "-o", "a.PNG", "--format", "jpeg") == (
        2,
        "",
        ["kompakt: a.PNG would hold a JPEG: name it a.jpg, or choose --format png"],
    )
    assert fake.calls == []


def test_a_directory_takes_the_suffix_of_the_format(run, tmp_path):
    run("compress", write_png(tmp_path / "images" / "a.png"), "-o", "streams/")

    assert run("decompress", "streams", "-o", "back", "--format", "tiff")[0] == 0

    assert format_of(tmp_path / "back" / "a.tiff") == "TIFF"


def test_a_stream_gets_no_image_s_name(run, fake, tmp_path):
    write_png(tmp_path / "a.png")

    status, _, error = run("compress", "a.png", "-o", "b.PNG")

    assert status == 2
    assert error == ["kompakt: b.PNG would hold a stream, which no viewer opens: name it b.kpt"]
    assert not (tmp_path / "b.PNG").exists()
    assert not fake.requests


def test_several_connections_are_used(run, fake, tmp_path):
    for seed in range(3):
        write_png(tmp_path / "images" / f"{seed}.png", seed)

    assert run("compress", "images", "-o", "streams", "--connections", "2")[0] == 0
    assert run("decompress", "streams", "-o", "back", "--connections", "2")[0] == 0

    assert fake.num_calls("StreamCompress") == fake.num_calls("StreamDecompress") == 2
    assert run("compress", "images", "-o", "x", "--connections", "0")[0] == 2


def test_rows_are_whole_when_the_server_goes_away(run, fake, tmp_path):
    for seed in range(300):
        write_png(tmp_path / "images" / f"{seed:03}.png", seed, height=2, width=2)
    fake.cut_streams_after += [2] + [0] * 9

    status, out, err = run("compress", "images", "-o", "streams", "--json", "--timeout", "2")

    rows = json.loads(out)
    assert (status, len(err)) == (1, 1)
    assert 0 < len(rows) < 300
    assert all(Path(row["output"]).is_file() for row in rows)


def test_compress_prints_json(run, tmp_path):
    write_png(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no image")

    status, out, _ = run("compress", "bad.png", "missing.png", "good.png", "-o", "out", "--json")

    bad, missing, good = json.loads(out)
    assert status == 1
    assert (bad["input"], bad["error"], bad["reason"]) == (
        "bad.png",
        "not an image",
        "INVALID_IMAGE",
    )
    assert bad["num_bytes"] is bad["output"] is None
    assert missing["error"] == "No such file or directory"
    assert good["output"] == str(Path("out", "good.kpt"))
    assert (good["num_bytes"], good["model"], good["profile"]) == (797, "fake-ae", "file")
    assert (good["codec"], good["level"], good["mse"], good["psnr_db"]) == (
        "fake-ae",
        0,
        None,
        None,
    )
    assert good["error"] is good["reason"] is None
    assert bad.keys() == good.keys()


def test_decompress_prints_csv(run, tmp_path):
    run("compress", write_png(tmp_path / "a.png"), "-o", "a.kpt")

    status, out, _ = run("decompress", "a.kpt", "-o", "b.png", "--csv")

    [row] = csv.DictReader(io.StringIO(out))
    assert status == 0
    assert (row["input"], row["output"], row["format"]) == ("a.kpt", "b.png", "png")
    assert (row["height"], row["channels"], row["error"]) == ("28", "1", "")
