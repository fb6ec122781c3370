import json
import subprocess
import sys

import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from benchmarks import photos
from benchmarks.processes import ROOT


def test_photographs_are_measured_both_ways(tmp_path):
    for number, image in enumerate(load_sample_images().images):
        Image.fromarray(image[:160, :200]).save(tmp_path / f"{number}.png")
    command = [sys.executable, "-m", "benchmarks.photos", str(tmp_path), "--level", "8"]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)

    never, best = map(json.loads, done.stdout.splitlines())

    assert (never["fallback"], best["fallback"]) == ("never", "best")
    assert never["codecs"] == {"photos": 2}
    for one in (never, best):
        assert one["photos"] == sum(one["codecs"].values()) == 2
        assert 0 < one["compress_s"] <= one["compress_longest_s"]
        assert 0 < one["decompress_s"] <= one["decompress_longest_s"]


def test_a_folder_without_photographs_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        photos.main([str(tmp_path)])
    assert "holds no photographs" in capsys.readouterr().err
