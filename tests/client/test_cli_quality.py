"""The options of `kompakt compress`: what is asked for, shown and refused."""

import json

import pytest

from tests.client.conftest import write_png


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
        (["--min-psnr", "30"], "min_psnr_db", 30.0, ", 20.00 dB, level 0"),
        (["--max-mse", "0.5"], "max_mse", 0.5, ", 20.00 dB, level 0"),
        (["--max-bytes", "800"], "max_bytes", 800, ", 20.00 dB, level 0"),
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


def test_an_embedded_stream_keeps_no_metadata(run, fake, tmp_path):
    write_png(tmp_path / "a.png")

    status, _, err = run(
        *("compress", "a.png", "-o", "a.kpt", "--keep-metadata", "--profile", "embedded")
    )

    assert status == 2
    assert err == [
        "kompakt: --keep-metadata goes with --profile file: "
        "an embedded stream has no place for metadata"
    ]
    assert fake.calls == []


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
