"""The command line, through `main`, against the fake server."""

import csv
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kompakt_client.cli import main
from tests.client.conftest import pixels
from tests.client.fake_server import HEADER, Fault, grpc


@pytest.fixture(autouse=True)
def _here(running, monkeypatch, tmp_path):
    monkeypatch.setenv("KOMPAKT_TARGET", running.target)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(capsys):
    """Run a command; return its status, what it printed, and the lines it complained in."""

    def call(*arguments):
        status = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return status, out, err.splitlines()

    return call


def write_png(path, seed=0, **size):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed, **size)[..., 0]).save(path)
    return path


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

    assert (status, err) == (1, ["kompakt: a.png: Is a directory"])
    assert (tmp_path / "out" / "b.kpt").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.png", "sub/a.png", "-o", "out"], "a.png and sub/a.png would both be written to"),
        (["a.png", "a.gif", "-o", "out"], "a.png and a.gif would both be written to out/a.kpt"),
        (["a.png", "-o", "a.png"], "a.png would be overwritten: choose another output"),
        (["a.png", "b.png", "-o", "file"], "file must be a directory to hold several files"),
        (["sub", "-o", "file"], "file must be a directory to hold several files"),
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

    status, _, err = run("decompress", "a.kpt", "-o", "a.jpg")

    assert status == 2
    assert err == [
        "kompakt: a.jpg: cannot tell the format from '.jpg'; an image is written as "
        ".png, .webp, .bmp, .tiff, .tif, or choose with --format"
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
    assert good["error"] is good["reason"] is None
    assert bad.keys() == good.keys()


def test_decompress_prints_csv(run, tmp_path):
    run("compress", write_png(tmp_path / "a.png"), "-o", "a.kpt")

    status, out, _ = run("decompress", "a.kpt", "-o", "b.png", "--csv")

    [row] = csv.DictReader(io.StringIO(out))
    assert status == 0
    assert (row["input"], row["output"], row["format"]) == ("a.kpt", "b.png", "png")
    assert (row["height"], row["channels"], row["error"]) == ("28", "1", "")


def test_evaluate_prints_a_table(run, tmp_path):
    for seed in range(3):
        write_png(tmp_path / "images" / f"{seed}.png", seed)

    status, out, err = run("evaluate", "images", "--models", "fake-ae")

    lines = [line.split() for line in out.splitlines()]
    assert (status, err) == (0, [])
    assert lines[0] == ["3", "images,", "pooled"]
    assert lines[2][:4] == ["fake-ae", "3", "50.0", "0.000"]
    assert lines[2][7:9] == ["4.00", "1.00"]
    assert lines[4][:5] == ["webp", "(as", "good", "as", "fake-ae)"]


def test_evaluate_shows_each_image_if_asked_to(run, tmp_path):
    names = [str(write_png(tmp_path / f"{seed}.png", seed)) for seed in range(2)]

    _, out, _ = run("evaluate", *names, "--baselines", "none", "--per-image")

    assert out.count(names[0]) == 2
    assert "Each image" in out


def test_evaluate_prints_json(run, fake, tmp_path):
    names = [write_png(tmp_path / f"{seed}.png", seed) for seed in range(20)]
    (tmp_path / "bad.png").write_bytes(b"no image")

    status, out, err = run(
        *("evaluate", *names, "bad.png", "missing.png", "--json", "--per-image"),
        *("--baselines", "zip,webp"),
    )

    document = json.loads(out)
    assert status == 1
    assert err == [
        "kompakt: missing.png: No such file or directory",
        "kompakt: bad.png: not an image",
    ]
    assert fake.calls == ["StreamEvaluate"]
    assert (document["num_images"], document["num_failed"]) == (22, 2)
    zipped = next(row for row in document["pooled"] if row["codec"] == "zip")
    assert (zipped["num_images"], zipped["bytes_per_image"]) == (20, 200.0)
    assert zipped["ratio_to_zip"] == 1.0
    model = next(row for row in document["pooled"] if row["codec"] == "fake-vae")
    assert model["ratio_to_zip"] == 4.0
    assert len(document["images"]) == 21
    assert document["images"][3]["image"] == str(names[3])
    assert document["images"][3]["measurements"][0]["psnr_db"] == 20.0
    assert document["images"][20]["reason"] == "INVALID_IMAGE"


def test_evaluate_without_per_image_prints_pooled_rows_only(run, tmp_path):
    write_png(tmp_path / "a.png")

    _, out, _ = run("evaluate", "a.png", "--json")
    _, table, _ = run("evaluate", "a.png", "--csv")

    assert set(json.loads(out)) == {"num_images", "num_failed", "pooled"}
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["codec"] for row in rows] == ["fake-ae", "fake-vae", "zip", "webp"]
    assert {row["image"] for row in rows} == {""}
    assert rows[2]["ssim"] == ""


def test_evaluate_passes_what_to_measure(run, fake, tmp_path):
    write_png(tmp_path / "a.png")

    run("evaluate", "a.png", "--models", "a,b", "--baselines", "jpeg-xl,zip")
    run("evaluate", "a.png", "--baselines", "none")

    first, second = (request.options for request in fake.requests)
    assert list(first.models) == ["a", "b"]
    assert list(first.baselines) == [8, 1]
    assert second.skip_baselines


def test_models_are_a_table(run):
    status, out, _ = run("models")

    lines = out.splitlines()
    assert status == 0
    assert lines[0].split() == [
        *("model", "kind", "sizes", "trained", "on", "channels"),
        *("bytes/image", "bpp", "PSNR", "dB"),
    ]
    assert lines[1].split() == [
        *("fake-ae", "(default)", "ae", "28x28", "digits", "train", "1"),
        *("56.5", "0.577", "27.00"),
    ]
    assert lines[2].split() == ["fake-vae", "vae", "1x2-64x128", "3"]


def test_models_are_a_list_of_objects(run):
    _, out, _ = run("models", "--json")
    _, named, _ = run("models", "fake-vae", "--json")

    models = json.loads(out)
    assert [model["name"] for model in models] == ["fake-ae", "fake-vae"]
    assert models[0]["fingerprint"] == "f1" * 32
    assert models[0]["measured"]["bytes_per_image"] == 56.5
    assert models[0]["accepted_sizes"][0]["min_height"] == 28
    assert models[1]["training"] is None
    assert json.loads(named) == [models[1]]


def test_models_are_rows(run):
    _, out, _ = run("models", "--csv")

    first, second = csv.DictReader(io.StringIO(out))
    assert (first["name"], first["latent_shape"]) == ("fake-ae", "16x1x1")
    assert (first["measured_psnr_db"], first["training_licence"]) == ("27.0", "CC0")
    assert (second["accepted_sizes"], second["measured_psnr_db"]) == ("1x2-64x128", "")


def test_an_unknown_model_is_one_line(run):
    status, out, err = run("models", "nobody")

    assert (status, out, err) == (1, "", ["kompakt: injected UNKNOWN_MODEL"])


def test_a_server_that_is_not_there_is_one_line(run, tmp_path):
    write_png(tmp_path / "a.png")

    for command in (["models"], ["compress", "a.png", "-o", "a.kpt"], ["evaluate", "a.png"]):
        status, out, err = run(*command, "--target", "127.0.0.1:1", "--timeout", "1")

        assert (status, out) == (1, "")
        assert err == [
            "kompakt: cannot reach 127.0.0.1:1: is the server running? "
            "start it with `kompakt serve`"
        ]


def test_a_server_that_stops_says_so_itself(run, fake):
    fake.faults += [Fault(grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")] * 9

    assert run("models", "--timeout", "1")[2] == ["kompakt: injected SHUTTING_DOWN"]


def test_a_slow_server_is_one_line(run, running, fake):
    fake.delay = 1.0

    status, _, err = run("models", "--timeout", "0.1")

    assert status == 1
    assert err[0].startswith(f"kompakt: no answer from {running.target} in time")


def test_a_wrong_environment_is_one_line(run, monkeypatch):
    monkeypatch.setenv("KOMPAKT_TIMEOUT", "soon")

    status, _, err = run("models")

    assert (status, len(err)) == (2, 1)
    assert "KOMPAKT_TIMEOUT must be a positive number" in err[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "kompakt: the following arguments are required: COMMAND"),
        (["explode"], "kompakt: argument COMMAND: invalid choice: 'explode'"),
        (["compress", "a.png"], "kompakt compress: the following arguments are required: -o"),
        (["compress", "-o", "x"], "kompakt compress: the following arguments are required: INPUT"),
        (["models", "--timeout", "-1"], "--timeout: must be a positive number of seconds, not -1"),
        (["models", "--timeout", "soon"], "kompakt models: argument --timeout"),
        (["models", "--json", "--csv"], "not allowed with argument --json"),
        (["evaluate", "a", "--baselines", "gif"], "unknown name 'gif'; choose from zip, deflate"),
        (["evaluate", "a", "--models", "a,,b"], "argument --models: unknown name ''"),
        (["compress", "a", "-o", "b", "--fit", "crop"], "argument --fit: invalid choice: 'crop'"),
    ],
)
def test_wrong_usage_is_one_line_and_status_two(run, arguments, message):
    status, out, err = run(*arguments)

    assert (status, out, len(err)) == (2, "", 1)
    assert message in err[0]
    assert err[0].endswith("--help)")


def test_help_shows_every_command(run):
    status, out, _ = run("--help")

    assert status == 0
    assert all(f"  {name} " in out for name in ("compress", "decompress", "evaluate", "models"))


@pytest.mark.parametrize("command", ["compress", "decompress", "evaluate", "models"])
def test_commands_have_help(run, command):
    status, out, _ = run(command, "--help")

    assert status == 0
    assert "KOMPAKT_TARGET" in out


def test_the_version_is_shown(run, monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda _: "1.2.3")

    assert run("--version") == (0, "kompakt 1.2.3\n", [])


def test_an_interrupt_is_status_130(run, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("kompakt_client._client.Client.models", interrupt)

    assert run("models") == (130, "", [])


def test_a_defect_is_one_line(run, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("oh\nno")

    monkeypatch.setattr("kompakt_client._client.Client.models", fail)

    assert run("models") == (1, "", ["kompakt: unexpected ZeroDivisionError: oh no"])


def test_a_reader_that_goes_away_is_no_traceback(run, monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        status, _, err = run("models", "--json")
        monkeypatch.undo()

    assert (status, err) == (141, [])


def test_long_work_shows_progress_on_a_terminal(run, monkeypatch, tmp_path):
    for seed in range(3):
        write_png(tmp_path / "images" / f"{seed}.png", seed)
    (tmp_path / "images" / "bad.png").write_bytes(b"no image")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")

    status, out, err = run("compress", "images", "-o", "out", "--json")

    shown = "\n".join(err)
    assert status == 1
    assert "compressing" in shown
    assert "kompakt: images/bad.png: not an image" in shown
    assert len(json.loads(out)) == 4
