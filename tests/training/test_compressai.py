"""CompressAI's models as checkpoints: the same symbols, pictures and rates, decoded exactly."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from kompakt_codec.checkpoint import Checkpoint
from kompakt_codec.codec import Codec
from kompakt_codec.errors import CorruptStreamError, StreamError
from kompakt_codec.header import Training
from kompakt_training.commands.import_compressai import main
from kompakt_training.compressai_import import import_state, measure
from kompakt_training.compressai_names import ARCHITECTURES
from kompakt_training.compressai_state import parse_state, read_state
from kompakt_training.errors import TrainingError
from tests.training.compressai_reference import make_reference

TRAINING = Training(dataset="none", licence="none", num_images=0, epochs=0, command="none")
HYPERPRIORS = ARCHITECTURES[1:]


@pytest.fixture(scope="module")
def photos():
    """Uint8 (2, 256, 384, 3): no side needs to be filled."""
    return np.stack([photo[80:336, 100:484] for photo in load_sample_images().images])


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """By architecture: the reference, what is imported, and a codec of the saved checkpoint."""
    folder = tmp_path_factory.mktemp("imported")
    made = {}
    for architecture in ARCHITECTURES:
        reference = make_reference(architecture)
        imported = import_state(parse_state(reference.state_dict(), architecture))
        path = folder / f"{architecture}.safetensors"
        imported.checkpoint(name=architecture, training=TRAINING).save(path)
        made[architecture] = reference, imported, Codec(Checkpoint.load(path))
    return made


def floats(photos: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(photos).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_pictures_and_rates_are_compressais(loaded, photos, architecture):
    reference, imported, codec = loaded[architecture]
    x_hat, bits = reference(floats(photos))

    symbols = codec.analyse(photos, [0, 0])
    pixels = codec.synthesise(symbols, [0, 0])

    expected = (x_hat * 255).round().permute(0, 2, 3, 1).numpy()
    close = np.abs(pixels - expected) <= 1
    assert close.mean() > 0.999  # a number that lies at a half may be rounded to either side
    np.testing.assert_allclose(imported.rate.bits(symbols), bits.numpy(), rtol=1e-3)
    assert len(np.unique(symbols)) > 10


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_real_bytes_are_within_a_hundredth_of_the_estimate(loaded, photos, architecture):
    _, imported, codec = loaded[architecture]
    loss = measure(codec, imported.rate, photos, dataset="photos")
    assert abs(loss.percent) < 1
    assert loss.measured.num_images == 2
    assert loss.measured.bytes_per_image == loss.payload_bits / 16 + 2 + 4  # two numbers of a shape
    assert loss.measured.bits_per_pixel == pytest.approx(
        8 * loss.measured.bytes_per_image / (256 * 384)
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_streams_of_every_size_come_back_whatever_the_batch(loaded, photos, architecture):
    codec = loaded[architecture][2]
    sizes = [(1, 1), (64, 64), (17, 130), (256, 256), (65, 64)]
    images = [photos[0, : size[0], : size[1]] for size in sizes]

    frames = codec.compress(images)

    decoded = codec.decompress(frames)
    for image, frame, pixels in zip(images, frames, decoded, strict=True):
        assert pixels.shape == image.shape
        alone = codec.decompress([frame])[0].astype(int)
        assert np.abs(alone - pixels).max() <= 1


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_tiles_leave_no_seams(loaded, photos, architecture, monkeypatch):
    _, imported, codec = loaded[architecture]
    image = np.concatenate([photos[:1], photos[1:, :, ::-1]], axis=2)
    large = np.concatenate([image, image[:, ::-1], image], axis=1)  # 768 x 768
    whole = codec.analyse(large, [0])
    monkeypatch.setattr("kompakt_codec.quantised.LARGEST_TILE", 128)
    tiled = Codec(imported.checkpoint(name="tiled", training=TRAINING))

    symbols = tiled.analyse(large, [0])

    assert (symbols != whole).mean() < 1e-4
    pixels, expected = (one.synthesise(whole, [0]).astype(int) for one in (tiled, codec))
    assert np.abs(pixels - expected).max() <= 1
    assert np.array_equal(tiled.decompress(tiled.compress([large[0]]))[0].shape, large[0].shape)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_damaged_streams_are_typed_errors(loaded, photos, architecture):
    codec = loaded[architecture][2]
    [frame] = codec.compress([photos[0, :64, :64]])
    rng = np.random.default_rng(0)
    for position in rng.integers(0, 8 * len(frame), 40).tolist():
        damaged = bytearray(frame)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(StreamError):
            codec.decompress([bytes(damaged)])
    for kept in rng.integers(0, len(frame), 10).tolist():
        with pytest.raises(StreamError):
            codec.decompress([frame[:kept]])
    with pytest.raises(CorruptStreamError):
        codec.decompress([frame[:-1] + bytes([frame[-1] ^ 1])])


def old_names(state: dict[str, torch.Tensor], pattern: str) -> dict[str, torch.Tensor]:
    names = {"matrices": "matrix", "biases": "bias", "factors": "factor"}

    def old(match: re.Match[str]) -> str:
        kind, number = match[1], match[2]
        return "entropy_bottleneck._" + pattern.format(names[kind], kind, number)

    name = re.compile(r"entropy_bottleneck\.(matrices|biases|factors)\.(\d)")
    return {name.sub(old, key): value for key, value in state.items()}


@pytest.mark.parametrize("architecture", ["bmshj2018-factorized", "mbt2018-mean"])
def test_all_forms_of_a_state_are_the_same(loaded, architecture):
    reference, imported, _ = loaded[architecture]
    state = reference.state_dict()
    halves = {key: value for key, value in state.items() if "reparam" not in key}
    forms = [
        {"epoch": 3, "state_dict": state, "best_loss": 0.5},
        {f"module.{key}": value for key, value in state.items()},
        old_names(state, "{0}{2}"),
        old_names(state, "{1}.{2}"),
        halves,
    ]
    for form in forms:
        again = import_state(parse_state(form, architecture))
        assert again.entropy.fingerprint == imported.entropy.fingerprint
        for key, value in again.model.state_dict().items():
            assert torch.equal(value, imported.model.state_dict()[key])


def without(state, key):
    return {k: v for k, v in state.items() if k != key}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: without(s, "g_a.0.weight"), "lacks g_a.0"),
        (lambda s: without(s, "h_s.2.bias"), "lacks h_s.2.bias"),
        (lambda s: {**s, "context.weight": torch.zeros(1)}, "has context.weight, which"),
        (
            lambda s: {**s, "h_a.2.weight": torch.zeros(6, 6, 3, 3)},
            r"h_a.2.weight is \(6, 6, 3, 3\)",
        ),
        (lambda s: {**s, "g_a.2.bias": s["g_a.2.bias"] * torch.nan}, "g_a.2.bias must hold finite"),
        (
            lambda s: {k: v for k, v in s.items() if k[0] != "h"},
            "h_a.0.bias, h_a.2.weight and 9",
        ),
        (lambda s: {**s, "count": 3}, "holds tensors"),
        (lambda s: {**s, "module.g_a.0.weight": s["g_a.0.weight"]}, "each of them once"),
        (lambda s: {1: s["g_a.0.weight"]}, "keys are names"),
        (lambda s: list(s.values()), "neither a state dict"),
        (lambda _: {}, "neither a state dict"),
    ],
)
def test_states_that_do_not_fit_are_one_clear_error(change, words):
    state = make_reference("mbt2018-mean").state_dict()
    with pytest.raises(TrainingError, match=words):
        parse_state(change(state), "mbt2018-mean")


def test_a_state_of_another_architecture_says_what_differs():
    state = make_reference("bmshj2018-hyperprior").state_dict()
    with pytest.raises(TrainingError, match=r"not the state of mbt2018-mean: h_s.0.weight is"):
        parse_state(state, "mbt2018-mean")
    with pytest.raises(TrainingError, match=r"it has h_a.0.weight"):
        parse_state(state, "bmshj2018-factorized")


class Harmful:
    """What a pickle could run."""

    def __reduce__(self):
        return (pytest.fail, ("code from a file was run",))


def test_nothing_in_a_file_is_run(tmp_path):
    torch.save({"state_dict": Harmful()}, tmp_path / "harmful.pth")
    (tmp_path / "text.pth").write_text("not weights")
    for name in ("harmful.pth", "text.pth"):
        with pytest.raises(TrainingError, match=r"save model.state_dict\(\) alone"):
            read_state(tmp_path / name, "mbt2018-mean")
    with pytest.raises(TrainingError, match="does not exist"):
        read_state(tmp_path / "missing.pth", "mbt2018-mean")


@pytest.fixture
def state_file(tmp_path):
    torch.save(make_reference("mbt2018-mean").state_dict(), tmp_path / "state.pth")
    return tmp_path / "state.pth"


def run(file, *options: object) -> int:
    return main([str(file), "--architecture", "mbt2018-mean", *map(str, options)])


def test_the_command_writes_a_checkpoint_that_just_loads(state_file, photos, tmp_path, capsys):
    folder, out = tmp_path / "calibration", tmp_path / "mean.safetensors"
    folder.mkdir()
    Image.fromarray(photos[0, :100, :130]).save(folder / "a.png")
    Image.fromarray(photos[1, :64, :64, 0]).save(folder / "grey.png")
    (folder / "notes.txt").write_text("not an image")

    options = ("--name", "mean-q1", "--licence", "CC0", "--dataset", "Vimeo", "--calibrate", folder)
    assert run(state_file, "--out", out, *options) == 0

    header = Checkpoint.load(out).header
    assert header.name == "mean-q1"
    assert header.architecture == "gdn-hyperprior"
    assert header.config == {"width": 6, "latents": 9, "means": 1}
    assert (header.training.licence, header.training.dataset) == ("CC0", "Vimeo")
    assert header.training.details["source"] == "CompressAI mbt2018-mean"
    assert abs(header.training.details["rate_loss_percent"]) < 5  # a few bytes of small images
    assert str(tmp_path) not in header.model_dump_json()
    assert header.measured.num_images == 2
    assert "2 images" in capsys.readouterr().out


def test_a_folder_that_is_missing_is_told_before_anything_is_measured(
    state_file, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("kompakt_training.import_command.measure", None)
    out = tmp_path / "missing" / "a.safetensors"

    assert run(state_file, "--out", out, "--calibrate", tmp_path) == 1

    assert capsys.readouterr().err == (
        f"kompakt import-compressai: {out}: {out.parent} is not a folder\n"
    )


def test_without_images_nothing_is_measured(state_file, tmp_path):
    assert run(state_file, "--out", tmp_path / "a.safetensors") == 0
    header = Checkpoint.load(tmp_path / "a.safetensors").header
    assert header.name == "mbt2018-mean"
    assert header.measured is None
    assert header.training.licence == "not stated"


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (("--out", "a.pth"), 2, "must end in .safetensors"),
        (("--out", "a.safetensors", "--name", "A b"), 2, "--name must be"),
        (("--out", "a.safetensors", "--calibrate", "missing"), 1, "missing is not a folder"),
        (("--out", "a.safetensors", "--calibrate", "empty"), 1, "empty holds no image"),
        (("--out", "missing/a.safetensors"), 1, "missing/a.safetensors"),
    ],
)
def test_failures_are_one_line(state_file, tmp_path, monkeypatch, capsys, options, status, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert run(state_file, *options) == status
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("*.safetensors"))


@pytest.mark.parametrize(
    "content", [b"", b"just some words\n", bytes(200), b"PK\x03\x04" + bytes(90)]
)
def test_any_other_file_is_one_clear_error(tmp_path, content):
    path = tmp_path / "notes.pth"
    path.write_bytes(content)
    with pytest.raises(TrainingError, match=r"notes.pth is no (state dict|file that torch)"):
        read_state(path, "bmshj2018-factorized")
