"""`kompakt compress` and `kompakt decompress`, against the fake server."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.client.conftest import pixels, write_png
from tests.client.fake_codec import HEADER


def read_image(path):
    return np.asarray(Image.open(path))[..., None]


def format_of(path):
    with Image.open(path) as image:
        return image.format


def names_in(directory):
    return sorted(path.name for path in directory.iterdir())


def stored(path):
    return path.read_bytes()[HEADER.size :]


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
        ("back.png", ["--format", "bmp"], "BMP"),
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


def test_a_directory_takes_the_suffix_of_the_format(run, tmp_path):
    run("compress", write_png(tmp_path / "images" / "a.png"), "-o", "streams/")

    assert run("decompress", "streams", "-o", "back", "--format", "tiff")[0] == 0

    assert format_of(tmp_path / "back" / "a.tiff") == "TIFF"


def test_options_reach_the_server(run, fake, tmp_path):
    write_png(tmp_path / "tall.png", height=99)

    status, _, _ = run(
        *("compress", "tall.png", "-o", "a.kpt", "--fit", "cover", "--profile", "embedded")
    )
    run("decompress", "a.kpt", "-o", "a.png", "--profile", "embedded", "--model", "fake-vae")

    assert status == 0
    compress, decompress = fake.requests
    assert (compress.options.fit, compress.options.profile) == (3, 2)
    assert (decompress.options.model, decompress.options.profile) == ("fake-vae", 2)


@pytest.mark.parametrize(
    ("arguments", "name", "value", "shown"),
    [
        (["--min-psnr", "30"], "min_psnr_db", 30.0, ", 20.00 dB"),
        (["--max-mse", "0.5"], "max_mse", 0.5, ", 20.00 dB"),
        (["--max-bytes", "800"], "max_bytes", 800, ", 20.00 dB"),
        (["--lossless"], "lossless", True, ", lossless, as png"),
        (["--level", "0"], "level", 0, ""),
        (["--level", "1.5"], "level_eighths", 4, ""),
    ],
)
def test_a_quality_is_asked_for_and_shown(run, fake, tmp_path, arguments, name, value, shown):
    write_png(tmp_path / "a.png")

    status, out, _ = run("compress", "a.png", "-o", "a.kpt", *arguments, "--no-fallback")

    options = fake.requests[0].options
    assert (status, out) == (0, f"a.kpt: 797 bytes, 8.133 bits per pixel{shown}\n")
    assert options.WhichOneof("quality") == name.removesuffix("_eighths")
    assert (getattr(options, name), options.fallback) == (value, 2)


def test_a_stream_gets_no_image_s_name(run, fake, tmp_path):
    write_png(tmp_path / "a.png")

    status, _, error = run("compress", "a.png", "-o", "b.PNG")

    assert status == 2
    assert error == ["kompakt: b.PNG would hold a stream, which no viewer opens: name it b.kpt"]
    assert not (tmp_path / "b.PNG").exists()
    assert not fake.requests


def test_a_thorough_contest_is_asked_for(run, fake, tmp_path):
    write_png(tmp_path / "a.png")

    assert run("compress", "a.png", "-o", "a.kpt", "--thorough")[0] == 0
    status, _, error = run("compress", "a.png", "-o", "a.kpt", "--thorough", "--no-fallback")

    assert fake.requests[0].options.fallback == 3
    assert status == 2
    assert "not allowed with" in error[0]


def test_metadata_is_kept_on_request(run, fake, tmp_path):
    write_png(tmp_path / "a.png")

    _, dropped, _ = run("compress", "a.png", "-o", "a.kpt")
    _, kept, _ = run("compress", "a.png", "-o", "a.kpt", "--keep-metadata")

    assert [request.options.keep_metadata for request in fake.requests] == [False, True]
    assert dropped == "a.kpt: 797 bytes, 8.133 bits per pixel\n"
    assert kept == "a.kpt: 797 bytes (7 of them metadata), 8.133 bits per pixel\n"


def test_a_label_is_told_by_its_name(run, fake, tmp_path):
    write_png(tmp_path / "a.png")
    command = ("compress", "a.png", "-o", "a.kpt", "--model", "fake-cvae", "--label")

    assert run(*command, "seven")[0] == 0
    assert fake.requests[0].options.level == 2
    assert run(*command, "8") == (
        1,
        "",
        ["kompakt: fake-cvae has no label '8': choose from 0, seven"],
    )


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


def test_the_least_quality_of_several_images_is_shown(run, fake, tmp_path):
    names = [write_png(tmp_path / f"{seed}.png", seed).name for seed in range(2)]

    _, lossy, _ = run("compress", *names, "-o", "out", "--max-mse", "0.5")
    _, lossless, _ = run("compress", *names, "-o", "out", "--lossless")

    assert lossy.endswith(", 8.133 bits per pixel, at least 20.00 dB\n")
    assert lossless.endswith(", 8.133 bits per pixel, lossless, 2 as png\n")
    assert fake.requests[0].options.fallback == 1


def test_a_quality_that_cannot_be_reached_fails_its_file(run, tmp_path):
    write_png(tmp_path / "a.png")

    status, out, err = run("compress", "a.png", "-o", "a.kpt", "--max-bytes", "9", "--json")

    assert (status, err) == (1, ["kompakt: a.png: no stream of this image fits into 9 bytes"])
    assert json.loads(out)[0]["reason"] == "QUALITY_UNREACHABLE"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--min-psnr", "nan"], "argument --min-psnr: must be a number from 0, not 'nan'"),
        (["--max-mse", "x"], "argument --max-mse: must be a number from 0, not 'x'"),
        (["--max-bytes", "-1"], "argument --max-bytes: must be a whole number from 0, not '-1'"),
        (["--max-bytes", "9" * 20], f"argument --max-bytes: is too large: {'9' * 20}"),
        (["--level", "1.6"], "argument --level: must be whole or in steps of 1/8, not '1.6'"),
        (["--level", "1e308"], "argument --level: no model has so many levels: 1e308"),
        (["--level", "-1"], "argument --level: must be a number from 0, not '-1'"),
        (["--level", "1", "--lossless"], "argument --lossless: not allowed with argument --level"),
    ],
)
def test_a_quality_that_makes_no_sense_is_wrong_usage(run, fake, arguments, message):
    status, _, [line] = run("compress", "a.png", "-o", "a.kpt", *arguments)

    assert status == 2
    assert message in line
    assert fake.calls == []


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
