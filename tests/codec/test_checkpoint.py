import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from kompakt_codec.checkpoint import Checkpoint
from kompakt_codec.errors import CheckpointError
from tests.support import make_checkpoint, make_level_checkpoint


@pytest.mark.parametrize("kind", ["ae", "vae", "levels"])
def test_a_checkpoint_comes_back_as_it_was(kind, tmp_path):
    saved = make_level_checkpoint() if kind == "levels" else make_checkpoint(kind)
    path = tmp_path / "x.safetensors"

    saved.save(path)
    loaded = Checkpoint.load(path)

    assert loaded.header == saved.header
    assert loaded.entropy.fingerprint == saved.entropy.fingerprint
    assert not loaded.model.training
    state = loaded.model.state_dict()
    assert "prior.first.weight" not in state
    for key, value in saved.model.state_dict().items():
        assert key.startswith("prior.") or torch.equal(value, state[key])
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_a_checkpoint_that_cannot_be_written_leaves_nothing(tmp_path):
    path = tmp_path / "x.safetensors"
    path.mkdir()  # no file can take its place

    with pytest.raises(IsADirectoryError):
        make_checkpoint("ae").save(path)

    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def edit(path: Path, *, header: dict | None = None, tensors: dict | None = None) -> Path:
    """Write the checkpoint again with some header fields and tensors replaced (None: removed)."""
    with safe_open(path, framework="pt") as file:
        metadata = json.loads(file.metadata()["kompakt"])
    contents = load_file(path)
    metadata.update(header or {})
    contents.update(tensors or {})
    changed = path.with_name("changed.safetensors")
    contents = {k: v for k, v in contents.items() if v is not None}
    save_file(contents, changed, {"kompakt": json.dumps(metadata)})
    return changed


@pytest.fixture
def path(tmp_path):
    make_checkpoint("ae").save(tmp_path / "ae.safetensors")
    return tmp_path / "ae.safetensors"


def int32(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int32)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"schema_version": 2}, "schema version 2; this software reads version 1"),
        ({"schema_version": None}, "schema version None"),
        ({"architecture": "gan"}, "unknown architecture 'gan'"),
        ({"config": {"depth": 3}}, "depth"),
        ({"config": {"latents": 0}}, "latents 1 to 4096"),
        ({"config": {"width": 4.0, "latents": 12}}, "width"),
        ({"config": {"width": 512, "latents": 4096}}, "weights do not fit"),
        ({"height": 10**6}, "height and width must be 4 to 512"),
        ({"channels": 2}, "channels must be 1 or 3"),
        ({"width": 12}, "weights do not fit"),
        ({"name": "../evil"}, "name"),
        ({"fingerprint": "0" * 64}, "header's fingerprint"),
        ({"synthesis_hash": "0" * 64}, "header's hash"),
        ({"surprise": 1}, "surprise"),
        ({"levels": 2}, "as many minimums"),
        ({"default_level": 1}, "rate levels"),
        ({"entropy": "context"}, "needs an entropy path of tables"),
        ({"labels": ["a"]}, "needs a label for every level"),
        ({"latent_shape": [12, 10**30, 1]}, "another latent_shape"),
        ({"latent_shape": [2**64, 1, 1]}, "another latent_shape"),
        ({"latent_shape": [12, 2**32, 2**32]}, "another latent_shape"),
    ],
)
def test_a_wrong_header_is_refused(path, header, message):
    with pytest.raises(CheckpointError, match=message):
        Checkpoint.load(edit(path, header=header))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"entropy.lengths": None}, "entropy.lengths"),
        ({"entropy.lengths": torch.ones(12)}, "int32"),
        ({"entropy.lengths": torch.tensor(60, dtype=torch.int32)}, "of an axis"),
        ({"entropy.lengths": int32(*[5] * 11, 4)}, "do not divide"),
        ({"entropy.lengths": int32(*[5] * 11, -5)}, "do not divide"),
        ({"entropy.minimums": int32(0)}, "needs its minimum"),
        ({"entropy.minimums": int32(*[0] * 12)}, "header's fingerprint"),
        ({"entropy.minimums": int32(*[40000] * 12)}, "16 bits"),
        ({"entropy.frequencies": int32(*[0] * 60)}, ">= 1"),
        ({"entropy.frequencies": int32(*[7] * 60)}, "sum"),
        ({"model.g_s.0.bias": None}, "weights do not fit"),
        ({"model.g_s.0.bias": torch.zeros(8)}, "header's hash"),
        ({"model.g_s.0.bias": torch.full((8,), torch.nan)}, "finite"),
        ({"model.g_s.0.bias": torch.zeros(8, dtype=torch.float64)}, "other names or types"),
        ({"model.more": torch.zeros(1)}, "weights do not fit"),
    ],
)
def test_wrong_tensors_are_refused(path, tensors, message):
    with pytest.raises(CheckpointError, match=message):
        Checkpoint.load(edit(path, tensors=tensors))


def test_a_header_nested_too_deep_is_refused(path):
    with safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    save_file(tensors, path, {"kompakt": "[" * 200_000})
    with pytest.raises(CheckpointError, match="malformed header"):
        Checkpoint.load(path)


@pytest.mark.parametrize("number", [math.inf, math.nan])
def test_a_headers_numbers_are_finite(path, number):
    measured = {
        "dataset": "d",
        "num_images": 1,
        "bytes_per_image": number,
        "bits_per_pixel": 1.0,
        "mse": 0.1,
    }
    with pytest.raises(CheckpointError, match="finite"):
        Checkpoint.load(edit(path, header={"measured": measured}))


def test_more_tables_than_channels_are_refused_before_each_is_looked_at(path, monkeypatch):
    monkeypatch.setattr(np, "split", None)
    many = {f"entropy.{key}": int32(*[1] * 24) for key in ("minimums", "lengths", "frequencies")}
    with pytest.raises(CheckpointError, match="12 channels need as many minimums and tables"):
        Checkpoint.load(edit(path, tensors=many))


@pytest.mark.parametrize("key", ["shift0", "max_symbols", "exp"])
def test_numbers_in_place_of_a_context_models_arrays_are_refused(tmp_path, key):
    make_level_checkpoint().save(tmp_path / "levels.safetensors")
    with safe_open(tmp_path / "levels.safetensors", "pt") as file:
        number = file.get_tensor(f"entropy.{key}").flatten()[0]
    changed = edit(tmp_path / "levels.safetensors", tensors={f"entropy.{key}": number})
    with pytest.raises(CheckpointError, match="of an axis"):
        Checkpoint.load(changed)


def test_a_step_must_be_positive(tmp_path):
    make_checkpoint("vae").save(tmp_path / "vae.safetensors")
    changed = edit(tmp_path / "vae.safetensors", tensors={"model.step": torch.zeros(12)})
    with pytest.raises(CheckpointError, match="positive"):
        Checkpoint.load(changed)


@pytest.mark.parametrize("scalar_levels", [None, 5, 4])
def test_the_model_and_the_entropy_path_have_one_quantiser(tmp_path, scalar_levels):
    saved = make_level_checkpoint()
    saved.save(tmp_path / "levels.safetensors")
    config = {**saved.header.config, "scalar_levels": scalar_levels}
    config = {key: value for key, value in config.items() if value is not None}
    changed = edit(tmp_path / "levels.safetensors", header={"config": config})
    with pytest.raises(CheckpointError, match="quantiser"):
        Checkpoint.load(changed)


def test_files_that_are_no_checkpoints(tmp_path, path):
    with pytest.raises(CheckpointError, match="missing"):
        Checkpoint.load(tmp_path / "missing.safetensors")
    garbage = tmp_path / "garbage.safetensors"
    garbage.write_bytes(np.random.default_rng(0).bytes(1000))
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        Checkpoint.load(garbage)
    garbage.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        Checkpoint.load(garbage)
    save_file({"x": torch.zeros(1)}, garbage)
    with pytest.raises(CheckpointError, match="without Kompakt's header"):
        Checkpoint.load(garbage)
