import pytest

from tests.training.helpers import digits, write_pngs


@pytest.fixture(autouse=True)
def clean_places(monkeypatch, tmp_path):
    """No data but what a test puts there, and nothing written outside its folder."""
    monkeypatch.delenv("KOMPAKT_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def folder(tmp_path):
    """A dataset of real digits."""
    write_pngs(tmp_path / "My Digits", digits(120))
    return f"folder:{tmp_path / 'My Digits'}"
