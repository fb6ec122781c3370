"""The project holds together: contract, versions, documentation, imports, packaging."""

import re
import subprocess
import sys
import sysconfig
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from kompakt.v1 import compression_pb2 as pb
from kompakt_codec.checkpoint import Checkpoint
from kompakt_codec.live_channels import LiveEntropy
from kompakt_service.errors import STATUS_CODES
from kompakt_service.settings import DEFAULT_MODELS, Settings, name_of_flag

ROOT = Path(__file__).parent.parent
PROTO = ROOT / "proto/kompakt/v1/compression.proto"


def test_the_stubs_are_those_of_the_contract(tmp_path):
    out = tmp_path / "contract.binpb"
    site_packages = sysconfig.get_path("purelib")
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}"]
    arguments = [f"-I{site_packages}", f"--descriptor_set_out={out}", str(PROTO)]
    subprocess.run([*command, *arguments], check=True)
    compiled = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file[0]
    for message in compiled.message_type:
        for field in message.field:
            field.ClearField("json_name")  # derived from the name; stubs leave it out
    committed = descriptor_pb2.FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(committed)
    assert committed == compiled


def test_every_reason_has_a_status_and_is_in_the_contract():
    words = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)*\b", PROTO.read_text()))
    assert set(STATUS_CODES) <= words


def test_the_version_is_the_changelogs():
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert project["version"] == newest[1] == version("kompakt")


def test_every_setting_is_in_the_readme_or_in_the_services_page():
    text = (ROOT / "docs/service.md").read_text()
    missing = [name for name in Settings.model_fields if name_of_flag(name) not in text]
    assert missing == []


@pytest.mark.parametrize(
    "package", ["kompakt_client", "kompakt_codec", "kompakt_service", "kompakt_training"]
)
def test_importing_has_no_side_effects(package):
    code = (
        f"import logging, sys, threading, {package}\n"
        "assert not logging.getLogger().handlers\n"
        "assert threading.active_count() == 1\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_contract_is_linted_in_a_folder_with_a_space(tmp_path):
    here = tmp_path / "a checkout"
    here.mkdir()
    for name in ("Makefile", "buf.yaml", "proto", "tests"):
        (here / name).symlink_to(ROOT / name)
    (here / ".venv").symlink_to(sys.prefix)
    command = ["make", "--old-file=.venv/.complete", "proto-lint"]
    subprocess.run(command, cwd=here, check=True)


def test_the_full_tests_make_the_folder_that_they_write_to():
    done = subprocess.run(
        ["make", "--dry-run", "test-full"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    before, _, _ = done.stdout.partition("build/streams.npz")
    assert "mkdir -p build" in before


def test_relative_links_in_the_documents_lead_somewhere():
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


@pytest.mark.parametrize("path", sorted(DEFAULT_MODELS.glob("*.safetensors")), ids=lambda p: p.stem)
def test_the_model_cards_are_those_of_the_checkpoints(path):
    checkpoint = Checkpoint.load(path)
    header = checkpoint.header
    card = (ROOT / "docs/models.md").read_text()
    assert header.measured is not None
    assert header.measured.psnr_db is not None
    for fact in (
        header.name,
        header.fingerprint[:8],
        header.training.licence,
        header.training.command,
        f"{header.training.epochs} epoch{'s' * (header.training.epochs != 1)}",
        f"{header.training.num_images:,} training images",
        f"{header.measured.bytes_per_image:.2f} embedded",
        f"{header.measured.mse:.5f}, {header.measured.psnr_db:.2f} dB",
    ):
        assert fact in card
    if isinstance(checkpoint.entropy, LiveEntropy):
        assert f"{checkpoint.entropy.live.sum()} are coded" in card
