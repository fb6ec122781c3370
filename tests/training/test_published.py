import dataclasses
import hashlib
import os
import socket
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets

from kompakt_training import published
from kompakt_training.bench_data import load_bench_images
from kompakt_training.data import load_dataset
from kompakt_training.errors import TrainingError
from tests.training.helpers import digits, write_labels, write_published

REAL_DATA_DIR = os.environ.get("KOMPAKT_DATA_DIR")


@pytest.fixture(autouse=True)
def no_network_no_packages(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError("the network is unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name, entry in published.PUBLISHED.items():
        without = dataclasses.replace(entry, system_dirs=())
        monkeypatch.setitem(published.PUBLISHED, name, without)


@pytest.mark.parametrize("layout", ["", "mnist", "MNIST/raw"])
@pytest.mark.parametrize("zipped", [False, True])
def test_finds_every_layout_and_splits_off_the_last_5000(tmp_path, layout, zipped):
    write_published(tmp_path / layout, zipped=zipped)

    images = load_dataset("mnist", tmp_path)

    assert np.array_equal(np.concatenate([images.train, images.val]), digits(5100))
    assert len(images.val) == 5000
    assert np.array_equal(images.test, 255 - digits(30))
    assert (images.name, images.licence) == ("mnist", "CC BY-SA 3.0")


def test_the_variable_names_the_folder_and_the_flag_wins(tmp_path, monkeypatch):
    write_published(tmp_path / "named" / "fashion-mnist")
    write_published(tmp_path / "flag", num_train=5001)
    monkeypatch.setenv("KOMPAKT_DATA_DIR", str(tmp_path / "named"))

    assert len(load_dataset("fashion-mnist").train) == 100
    assert len(load_dataset("fashion-mnist", tmp_path / "flag").train) == 1
    assert load_dataset("fashion-mnist").licence == "MIT"


def test_finds_what_a_system_package_installed(tmp_path, monkeypatch):
    write_published(tmp_path / "package", zipped=True)
    entry = published.PUBLISHED["fashion-mnist"]
    with_dir = dataclasses.replace(entry, system_dirs=(tmp_path / "package",))
    monkeypatch.setitem(published.PUBLISHED, "fashion-mnist", with_dir)

    assert len(load_dataset("fashion-mnist").train) == 100


def test_an_empty_named_folder_is_an_error_and_nothing_is_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "MNIST", None)

    with pytest.raises(TrainingError) as caught:
        load_dataset("mnist", tmp_path / "here")

    assert str(tmp_path / "here" / "mnist") in str(caught.value)
    assert "leave --data-dir out to download" in str(caught.value)


def test_without_network_the_error_names_places_and_ways_out(tmp_path, monkeypatch):
    monkeypatch.setenv("KOMPAKT_DATA_DIR", str(tmp_path / "named"))

    with pytest.raises(TrainingError) as caught:
        load_dataset("mnist")

    message = str(caught.value)
    assert str(tmp_path / "named" / "mnist") in message
    assert str(tmp_path / "cache" / "kompakt" / "data" / "mnist") in message
    for way in ("--data-dir", "KOMPAKT_DATA_DIR", "internet", "network is unreachable"):
        assert way in message
    assert "\n" not in message
    assert list((tmp_path / "cache" / "kompakt" / "data").iterdir()) == []
    assert socket.getdefaulttimeout() is None


def test_without_a_home_a_set_is_found_where_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "~")  # what stands for the home of a user without one
    monkeypatch.delenv("XDG_CACHE_HOME")
    write_published(tmp_path / "named")
    monkeypatch.setenv("KOMPAKT_DATA_DIR", str(tmp_path / "named"))

    assert len(load_dataset("mnist").train) == 100
    monkeypatch.setenv("KOMPAKT_DATA_DIR", str(tmp_path / "empty"))
    with pytest.raises(TrainingError, match="no home folder to keep it in: set XDG_CACHE_HOME"):
        load_dataset("mnist")
    with pytest.raises(TrainingError, match="~/tiles is not a folder"):
        load_dataset("folder:~/tiles")
    with pytest.raises(TrainingError, match="'~/tiles' is neither a directory"):
        load_bench_images("~/tiles")


def test_a_download_is_kept_in_the_cache(tmp_path, monkeypatch):
    timeouts = []

    def fake(root, *, download):
        assert download
        print("torchvision's own words")
        timeouts.append(socket.getdefaulttimeout())
        write_published(Path(root) / "MNIST" / "raw", zipped=True)

    monkeypatch.setattr(datasets, "MNIST", fake)

    first, second = load_dataset("mnist"), load_dataset("mnist")

    assert first.sha256 == second.sha256
    assert timeouts == [20.0]
    assert [p.name for p in (tmp_path / "cache/kompakt/data").iterdir()] == ["mnist"]


def test_processes_that_download_at_once_all_find_the_files(tmp_path, monkeypatch):
    def fake(root, *, download):
        assert download
        write_published(Path(root) / "MNIST" / "raw")
        write_published(tmp_path / "cache" / "kompakt" / "data" / "mnist")  # another was faster

    monkeypatch.setattr(datasets, "MNIST", fake)

    assert len(load_dataset("mnist").train) == 100
    assert [p.name for p in (tmp_path / "cache/kompakt/data").iterdir()] == ["mnist"]


def test_the_other_sets_files_are_refused(tmp_path, monkeypatch):
    write_published(tmp_path)
    digest = hashlib.sha256((255 - digits(30)).tobytes()).hexdigest()
    entry = dataclasses.replace(published.PUBLISHED["mnist"], test_sha256=digest)
    monkeypatch.setitem(published.PUBLISHED, "mnist", entry)

    with pytest.raises(TrainingError, match="holds MNIST: train with --dataset mnist"):
        load_dataset("fashion-mnist", tmp_path)


def test_too_few_training_images_are_refused(tmp_path):
    write_published(tmp_path, num_train=5000)

    with pytest.raises(TrainingError, match=r"is not MNIST: training images \(5000, 8, 8\)"):
        load_dataset("mnist", tmp_path)


def test_an_unknown_name_is_refused():
    with pytest.raises(TrainingError, match="unknown dataset 'cifar'; known: mnist"):
        load_dataset("cifar")


@pytest.mark.skipif(REAL_DATA_DIR is None, reason="KOMPAKT_DATA_DIR is not set")
def test_the_real_mnist_is_recognised():
    images = load_dataset("mnist", Path(str(REAL_DATA_DIR)))

    assert images.train.shape == (55_000, 28, 28, 1)
    assert images.test.shape == (10_000, 28, 28, 1)
    digest = hashlib.sha256(images.test.tobytes()).hexdigest()
    assert digest == published.PUBLISHED["mnist"].test_sha256


@pytest.mark.parametrize("zipped", [False, True])
def test_labels_beside_the_images_are_read_and_split_alike(tmp_path, zipped):
    write_published(tmp_path, zipped=zipped)
    assert load_dataset("mnist", tmp_path).labels.names == ()
    rng = np.random.default_rng(0)
    train, test = rng.integers(0, 10, 5100), rng.integers(0, 10, 30)
    write_labels(tmp_path, zipped=zipped, train=train, t10k=test)

    labels = load_dataset("mnist", tmp_path).labels

    assert labels.names == tuple("0123456789")
    assert np.array_equal(np.concatenate([labels.train, labels.val]), train)
    assert len(labels.val) == 5000
    assert np.array_equal(labels.test, test)


def test_another_number_of_labels_is_refused(tmp_path):
    write_published(tmp_path)
    write_labels(tmp_path, train=np.zeros(5099, int), t10k=np.zeros(30, int))
    with pytest.raises(TrainingError, match="another number of labels"):
        load_dataset("mnist", tmp_path)
