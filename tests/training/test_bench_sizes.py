"""``kompakt bench rd`` on photographs of several sizes."""

import json

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from kompakt_codec.baselines import BASELINES
from kompakt_codec.images import Pixels
from kompakt_codec.metrics import mse, psnr_db
from kompakt_codec.models import ImageSpec
from kompakt_codec.ms_ssim import ms_ssim
from kompakt_training import bench, bench_measure, bench_pictures, bench_summary
from kompakt_training.bench_measure import Coder, measure
from kompakt_training.bench_memory import peak_memory_mib
from kompakt_training.bench_pictures import nearest_not_below
from kompakt_training.bench_published import published_points
from kompakt_training.commands.bench import main
from tests.support import make_any_size_checkpoint, make_checkpoint

CHINA, FLOWER = load_sample_images().images
PHOTOS: list[Pixels] = [CHINA[:200, :180], FLOWER[100:261, 50:250], CHINA[50:100, 70:103]]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Folders images/ and models/: three sizes, a model of any size and one of a single one."""
    root = tmp_path_factory.mktemp("sizes")
    for name in ("images", "models"):
        (root / name).mkdir()
    for index, photo in enumerate(PHOTOS):
        Image.fromarray(photo).save(root / f"images/{index}.png")
    spec = ImageSpec(height=16, width=16, channels=3)
    make_any_size_checkpoint(spec=spec).save(root / "models/any.safetensors")
    make_checkpoint("ae", spec=spec, name="fixed").save(root / "models/fixed.safetensors")
    return root


def run(places, out, *flags):
    paths = ["--data", str(places / "images"), "--models", str(places / "models")]
    assert main(["rd", *paths, "--json", str(out), *flags]) == 0
    return json.loads(out.read_text())


def test_each_image_goes_at_its_own_size(places, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench_measure, "QUALITIES", (20, 60))
    flags = ("--no-timings", "--baselines", "jpeg,webp,jpeg-2000,png")
    for number in range(2):
        content = run(places, tmp_path / f"{number}.json", *flags)
    points = {(point["codec"], point["setting"]): point for point in content["points"]}

    assert content["image"] == "50x33x3, 161x200x3, 200x180x3"
    assert list(dict.fromkeys(codec for codec, _ in points)) == [
        "tiny-any",
        "png",
        "jpeg",
        "webp",
        "jpeg-2000",
    ]
    assert "left out: fixed is for images of 16x16x3\n" in capsys.readouterr().out
    for suffix in (".json", ".csv", ".png", ".html"):
        first, second = ((tmp_path / f"{number}{suffix}").read_bytes() for number in range(2))
        assert first == second
    page = (tmp_path / "0.html").read_text()
    assert page.count('src="data:image/png;base64,') == len(PHOTOS) * 4

    files = [BASELINES["webp"].encode(photo, 60, "") for photo in PHOTOS]
    decoded = [
        BASELINES["webp"].decode(*pair)
        for pair in zip(files, [photo.shape for photo in PHOTOS], strict=True)
    ]
    pixels = [photo.size / 3 for photo in PHOTOS]
    sizes = [len(data) for data in files]
    errors = [mse(*pair) for pair in zip(PHOTOS, decoded, strict=True)]
    assert points["webp", "quality=60"] == pytest.approx(
        {
            "codec": "webp",
            "setting": "quality=60",
            "source": "measured",
            "bytes_per_image": np.mean(sizes),
            "bits_per_pixel": 8 * sum(sizes) / sum(pixels),
            "bits_per_pixel_mean": np.mean([8 * s / n for s, n in zip(sizes, pixels, strict=True)]),
            "mse": np.average(errors, weights=pixels),
            "psnr_db": psnr_db(float(np.average(errors, weights=pixels))),
            "psnr_mean_db": np.mean([psnr_db(error) for error in errors]),
            "ms_ssim": None,  # one of them is too small
            **dict.fromkeys(key for key in points["webp", "quality=60"] if "_per_s" in key),
        }
    )


def test_ms_ssim_is_the_mean_of_images_that_are_large_enough():
    [coder] = [c for c in bench_measure.baseline_coders("webp", 3) if c.setting == "quality=20"]

    point = measure(coder, PHOTOS[:2])

    decoded = coder.decode(coder.encode(PHOTOS[:2]), [photo.shape for photo in PHOTOS[:2]])
    values = [ms_ssim(*pair) for pair in zip(PHOTOS[:2], decoded, strict=True)]
    assert point.ms_ssim == pytest.approx(np.mean(values))
    assert max(values) < 1


def test_the_json_says_each_codecs_rate_beside_jpegs(places, tmp_path, capsys):
    flags = ("--no-timings", "--baselines", "jpeg,webp,png", "--published", "kodak")
    content = run(places, tmp_path / "out.json", *flags)

    codecs = {codec["codec"]: codec for codec in content["codecs"]}
    assert codecs["jpeg"]["bd_rate_vs_jpeg_percent"] <= 0  # its best variant: never above the base
    assert -90 < codecs["webp"]["bd_rate_vs_jpeg_percent"] < -20
    assert codecs["webp"]["bd_rate_low_db"] < codecs["webp"]["bd_rate_high_db"]
    assert codecs["webp"]["bd_rate_reason"] is None
    assert codecs["png"]["bd_rate_vs_jpeg_percent"] is None
    assert codecs["png"]["bd_rate_reason"] == "no setting whose PSNR is finite"
    published = [codec for codec in codecs.values() if codec["source"] == "published"]
    assert [codec["codec"] for codec in published] == [
        "compressai-bmshj2018-factorized",
        "compressai-bmshj2018-hyperprior",
        "compressai-mbt2018-mean",
        "compressai-cheng2020-anchor",
    ]
    points = [point for point in content["points"] if point["source"] == "published"]
    assert [point["psnr_mean_db"] for point in points] == [
        point.psnr_mean_db for point in published_points("kodak")
    ]
    assert {point["bytes_per_image"] for point in points} == {None}
    _, title, table = capsys.readouterr().out.rpartition("Bytes at equal PSNR, and memory")
    assert title
    assert all(codec in table for codec in codecs)  # unfolded


def fake_coder(codec, setting, size, step):
    """Of black images: streams of one size, pixels that are off by a step."""
    return Coder(
        codec=codec,
        setting=setting,
        encode=lambda images: [bytes(size)] * len(images),
        decode=lambda _, shapes: [np.full(shape, step, np.uint8) for shape in shapes],
    )


def summaries_of(*rows):
    images = [np.zeros((10, 10, 3), np.uint8)] * 2
    points = [measure(fake_coder(*row), images) for row in rows]
    return {one.codec: one for one in bench_summary.summaries(points, [], {"half": 7.0})}


def test_the_base_is_sequential_jpeg_and_the_best_variant_counts():
    jpeg = [("jpeg", f"quality={q} 4:2:0", 2 * q, 64 // q) for q in (2, 4, 8)]
    worse = [("jpeg", f"quality={q} 4:4:4", 3 * q, 64 // q) for q in (2, 4, 8)]
    half = [("half", f"level={q}", q, 64 // q) for q in (2, 4, 8)]

    found = summaries_of(*jpeg, *worse, *half)

    assert found["jpeg"].bd_rate.percent == pytest.approx(0)
    assert found["jpeg"].variant == "4:2:0"
    assert found["half"].bd_rate.percent == pytest.approx(-50)
    assert (found["half"].peak_memory_mib, found["jpeg"].peak_memory_mib) == (7, None)


def test_without_jpeg_there_is_no_rate_beside_it():
    found = summaries_of(("half", "level=0", 4, 9), ("half", "level=1", 9, 4))

    assert found["half"].bd_rate is None
    assert found["half"].bd_rate_reason.startswith("the anchor's settings make no curve")


def test_images_too_long_for_a_format_leave_it_out(capsys):
    images = [np.zeros((1, 16_384, 3), np.uint8)]
    points = bench._measure_baselines(["zip", "webp"], images, bench.Console())

    assert [point.codec for point in points] == ["zip"]
    assert "left out: webp holds at most 16383 pixels a side\n" in capsys.readouterr().out


@pytest.mark.parametrize("name", bench_pictures.RIVALS)
@pytest.mark.parametrize("num_bytes", [1, 3000, 9000])
def test_a_rivals_picture_is_of_no_fewer_bytes(name, num_bytes):
    photo = PHOTOS[0]

    file = nearest_not_below(name, photo, num_bytes)

    baseline = BASELINES[name]
    sizes = [
        len(baseline.encode(photo, quality, variant))
        for variant in baseline.variants(3)
        for quality in baseline.qualities
    ]
    assert file.num_bytes in sizes
    assert num_bytes <= file.num_bytes < max(1.2 * num_bytes, min(sizes) * 2)


def test_where_all_are_smaller_the_largest_is_shown():
    file = nearest_not_below("webp", PHOTOS[2], 10**6)

    assert file.num_bytes == len(BASELINES["webp"].encode(PHOTOS[2], 100, ""))


def test_memory_is_that_of_a_process_of_its_own(places):
    tile = [PHOTOS[0][:16, :16]]

    small = peak_memory_mib(tile, codec="png")
    model = peak_memory_mib(tile, codec=places / "models/fixed.safetensors")

    assert small is not None
    assert 10 < small < 200  # were it a child of this process that counted, torch would be in it
    assert model is not None
    assert model > small + 50


def test_memory_is_unknown_where_the_system_does_not_tell(monkeypatch, tmp_path):
    monkeypatch.setattr("kompakt_training.bench_memory._STATUS", tmp_path / "status")

    assert peak_memory_mib(PHOTOS, codec="png") is None


def test_memory_is_unknown_where_the_process_dies(monkeypatch):
    monkeypatch.setattr("kompakt_training.bench_memory.sys.executable", "false")

    assert peak_memory_mib(PHOTOS, codec="png") is None
