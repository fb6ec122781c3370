"""What users install: the wheel alone, and with the service extra, in clean environments."""

import subprocess
import sys
import venv
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from PIL import Image

from kompakt_service.settings import DEFAULT_MODELS
from tests.e2e.conftest import running_service

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]  # as in the Dockerfile
    subprocess.run([*command, "--wheel-dir", out, ROOT], check=True, capture_output=True)
    return next(out.glob("*.whl"))


def installed(directory: Path, requirement: str, *, lent: str | None = None) -> Path:
    """A new virtual environment with a requirement; its bin directory.

    What the extra ``lent`` of this project requires, and nothing else, it sees of this environment:
    torch and its like are gigabytes, and that they install is seen where these tests are installed.
    """
    venv.create(directory, with_pip=True)
    if lent is not None:
        (site,) = directory.glob("lib/python*/site-packages")
        links = directory.with_name(f"{directory.name}-lent")
        link_requirements(links, lent)
        (site / "lent.pth").write_text(f"{links}\n")
    # Modules are compiled when they are imported: most of what is installed never is.
    pip = [directory / "bin/pip", "install", "--quiet", "--no-compile"]
    pip.append("--disable-pip-version-check")
    subprocess.run([*pip, requirement], check=True)
    return directory / "bin"


def link_requirements(directory: Path, extra: str) -> None:
    """A directory of links to all that an extra of this project requires here."""
    directory.mkdir()
    found: dict[tuple[str, str], Distribution] = {}
    wanted = _required(distribution("kompakt"), extra)
    while wanted:
        if (pair := wanted.pop()) not in found:
            found[pair] = distribution(pair[0])
            wanted += _required(found[pair], pair[1])
    for each in found.values():
        for top in {file.parts[0] for file in each.files or ()} - {"..", "__pycache__"}:
            if not (directory / top).exists():
                (directory / top).symlink_to(Path(str(each.locate_file(top))))


def _required(of: Distribution, extra: str) -> list[tuple[str, str]]:
    """The distributions that one requires with an extra, and the extras of theirs, one by one."""
    requirements = map(Requirement, of.requires or ())
    needed = [r for r in requirements if not r.marker or r.marker.evaluate({"extra": extra})]
    return [(r.name, each) for r in needed for each in ("", *r.extras)]


def packages(bin_directory: Path) -> set[str]:
    code = "import importlib.metadata as m; print(*{d.name.lower() for d in m.distributions()})"
    done = subprocess.run(
        [bin_directory / "python", "-c", code], check=True, capture_output=True, text=True
    )
    return set(done.stdout.split())


def test_the_wheel_holds_what_it_must_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for path in DEFAULT_MODELS.glob("*.safetensors"):
        assert f"kompakt_service/models/{path.name}" in names
    for package in ("kompakt", "kompakt_client", "kompakt_codec", "kompakt_service"):
        assert f"{package}/py.typed" in names
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.startswith("kompakt")} == set()


def test_the_wheel_alone_is_a_client_without_torch(wheel, tmp_path, target, digits):
    client = installed(tmp_path / "client", str(wheel))
    assert packages(client).isdisjoint({"torch", "torchvision", "pydantic", "pillow"})
    Image.fromarray(digits[0, ..., 0]).save(tmp_path / "x.png")
    kompakt = [client / "kompakt", "compress", tmp_path / "x.png", "-o", tmp_path / "x.kpt"]
    subprocess.run([*kompakt, "--target", target], check=True)
    assert (tmp_path / "x.kpt").read_bytes().startswith(b"\xcbKP")
    serve = subprocess.run([client / "kompakt", "serve"], capture_output=True, text=True)
    assert serve.returncode == 1
    assert "pip install 'kompakt[service]'" in serve.stderr


@pytest.mark.slow
def test_the_dockerfiles_steps_give_a_service_without_training(wheel, tmp_path, digits):
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert '"$(echo /wheels/*.whl)[service]"' in dockerfile
    service = installed(tmp_path / "service", f"{wheel}[service]", lent="service")
    assert packages(service).isdisjoint({"torchvision", "matplotlib", "pytest", "grpcio-tools"})
    Image.fromarray(digits[0, ..., 0]).save(tmp_path / "x.png")
    with running_service(service) as target:
        subprocess.run([service / "kompakt", "health", "--target", target], check=True)
        for command in (
            ["compress", tmp_path / "x.png", "-o", tmp_path / "x.kpt"],
            ["decompress", tmp_path / "x.kpt", "-o", tmp_path / "back.png"],
        ):
            subprocess.run([service / "kompakt", *command, "--target", target], check=True)
    with Image.open(tmp_path / "back.png") as image:
        assert image.size == (28, 28)
