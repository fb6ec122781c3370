"""The public surface, and what importing it costs."""

import importlib.metadata
import inspect
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import IO, get_args

import pytest

import kompakt_client
from kompakt_client import AsyncClient, Client


def test_the_public_names_are_these():
    assert kompakt_client.__all__ == sorted(kompakt_client.__all__)
    assert dir(kompakt_client) == kompakt_client.__all__
    assert all(hasattr(kompakt_client, name) for name in kompakt_client.__all__)


def test_nothing_else_is_public():
    modules = {"annotations", "cli", "import_module", "TYPE_CHECKING", "Any"}
    visible = {name for name in vars(kompakt_client) if not name.startswith("_")}

    assert visible - modules <= set(kompakt_client.__all__)


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="has no attribute 'Clinet'"):
        _ = kompakt_client.Clinet


def test_both_clients_have_the_same_methods():
    def signatures(cls):
        return {
            name: [*inspect.signature(method).parameters]
            for name, method in inspect.getmembers(cls, callable)
            if not name.startswith("_") and name not in ("close", "aclose")
        }

    assert signatures(Client) == signatures(AsyncClient)


def test_the_version_is_that_of_the_distribution(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: f"1.2.3 of {name}")

    assert kompakt_client.__version__ == "1.2.3 of kompakt"


def test_the_package_is_typed():
    assert Path(kompakt_client.__path__[0], "py.typed").exists()


@pytest.mark.parametrize(("cls", "kind"), [(Client, Generator), (AsyncClient, AsyncGenerator)])
@pytest.mark.parametrize("method", ["compress_many", "decompress_many"])
def test_a_run_may_be_closed_early_as_its_type_says(cls, kind, method):
    returned = getattr(cls, method).__annotations__["return"]

    assert returned.startswith(f"{kind.__name__}[")
    assert isinstance(getattr(cls(), method)([]), kind)


@pytest.mark.parametrize("inputs", [kompakt_client.ImageInput, kompakt_client.StreamInput])
def test_a_file_object_may_be_of_any_type_of_binary_files(inputs):
    assert IO[bytes] in get_args(inputs)


def imported_by(code):
    script = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    return {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}


def test_an_import_loads_nothing_slow():
    imported = imported_by("import kompakt_client")

    assert not imported & {"grpc", "numpy", "google", "rich", "torch", "PIL", "asyncio"}


def test_a_client_needs_neither_torch_nor_numpy_nor_pillow():
    imported = imported_by("from kompakt_client import AsyncClient, Client\nClient()")

    assert "grpc" in imported
    assert not imported & {"numpy", "rich", "torch", "PIL", "kompakt_codec", "kompakt_service"}


def test_help_loads_nothing_slow():
    imported = imported_by("from kompakt_client.cli import main\nmain(['--help'])")

    assert not imported & {"grpc", "numpy", "google", "rich", "torch", "PIL", "kompakt_service"}
