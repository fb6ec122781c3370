"""Settings: flags over environment over file over defaults, checked by pydantic."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from kompakt_codec.defaults import DEFAULT_EFFORT
from kompakt_service.environment import PREFIX, without_service_links

DEFAULT_MODELS = Path(__file__).parent / "models"
MIB = 1 << 20
MOST = 2**63 - 1
"""Of a limit that callers are told: no message holds much more."""


class SettingsError(Exception):
    """A setting is unknown or out of range; the message names it and where it came from."""


class Settings(BaseSettings):
    """What ``kompakt serve`` can be told, each as a flag, ``KOMPAKT_<NAME>`` or a line of TOML."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)
    config_file: ClassVar[Path | None] = None

    host: str = Field("0.0.0.0", description="address to listen on")
    port: int = Field(50051, ge=0, le=65535, description="gRPC port; 0 picks a free one")
    metrics_port: int = Field(
        9464, ge=0, le=65535, description="port of the Prometheus metrics; 0 picks a free one"
    )
    models: Path = Field(DEFAULT_MODELS, description="directory of checkpoints (*.safetensors)")
    default_model: str = Field(
        "", description="model for requests that name none; default: the first by name"
    )
    admin: Literal["off", "local", "any"] = Field(
        "off", description="who may load, promote and unload models: nobody, this machine, anyone"
    )
    model_state: Path | None = Field(
        None,
        description="file that keeps which models are loaded and current, for the next start and "
        "for other processes; default: none, and changes end with the server",
    )
    workers: int = Field(
        1,
        ge=1,
        le=1024,
        description="processes that share the port, each with models and queue of its own; on "
        "GPUs one for each",
    )
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N; auto takes a GPU if any")
    effort: int = Field(
        DEFAULT_EFFORT,
        ge=0,
        le=100,
        description="times that Compress mends an image's latents: more is better and slower",
    )
    torch_threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="CPU threads of the transforms in each worker; 0: torch's choice, or the "
        "cores shared out among several workers",
    )
    call_threads: int = Field(16, ge=1, le=1024, description="unary calls worked on at a time")
    stream_threads: int = Field(16, ge=1, le=1024, description="streams served at a time")
    max_pending_calls: int = Field(
        512, ge=1, description="calls accepted and not yet answered, above which calls are refused"
    )
    lanes: int = Field(
        0,
        ge=0,
        le=64,
        description="batches worked on at a time; 0: 2, so that one's entropy coding runs beside "
        "another's transforms, or 1 on one core",
    )
    max_batch_images: int = Field(256, ge=1, le=65536, description="images in one batch")
    max_batch_pixels: int = Field(4_000_000, ge=1, description="pixels in one batch")
    max_queue_seconds: float = Field(
        2.0, gt=0, le=3600, description="expected wait, above which calls are refused"
    )
    max_images: int = Field(1024, ge=1, le=65536, description="images in one request")
    max_image_bytes: int = Field(32 * MIB, ge=1, le=MOST, description="bytes of one encoded image")
    max_image_pixels: int = Field(
        70_000_000, ge=1, le=MOST, description="height x width of one image"
    )
    max_message_bytes: int = Field(
        64 * MIB, ge=1024, le=2**31 - 1, description="bytes of a message"
    )
    drain_seconds: float = Field(
        0.0, ge=0, le=3600, description="after SIGTERM: keep serving while reporting NOT_SERVING"
    )
    grace_seconds: float = Field(
        30.0, ge=0, le=3600, description="after that: wait for accepted calls"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="debug (every call), info (failed calls), warning or error"
    )
    log_format: Literal["json", "text"] = Field("text", description="json or text, a record a line")

    @field_validator("host")
    @classmethod
    def _bare_address(cls, value: str) -> str:
        """An IPv6 address may stand in brackets, as it does before a port."""
        return value.removeprefix("[").removesuffix("]")

    @field_validator("workers")
    @classmethod
    def _possible_workers(cls, value: int) -> int:
        if value > 1 and not sys.platform.startswith("linux"):
            raise ValueError("only Linux spreads the connections of a port over several processes")
        return value

    @property
    def num_lanes(self) -> int:
        """The number of lanes that ``lanes`` stands for."""
        return self.lanes or min(2, len(os.sched_getaffinity(0)))

    @field_validator("device")
    @classmethod
    def _usable_device(cls, value: str, info: ValidationInfo) -> str:
        return _usable_device(value, info.data.get("workers", 1))

    @field_validator("models", mode="before")
    @classmethod
    def _named_directory(cls, value: object) -> object:
        if value == "":  # which as a path is the working directory
            raise ValueError("must name a directory")
        return value

    @field_validator("models")
    @classmethod
    def _existing_directory(cls, value: Path) -> Path:
        if not value.is_dir():
            raise ValueError(f"{value} is not a directory")
        return value

    @field_validator("model_state")
    @classmethod
    def _named_file(cls, value: Path | None) -> Path | None:
        if value is not None and not value.name:
            raise ValueError("must name a file")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags (given to the constructor), then the environment, then the file."""
        del env_settings, dotenv_settings, file_secret_settings
        sources = (init_settings, _Environment(settings_cls))
        if cls.config_file is None:
            return sources
        return (*sources, TomlConfigSettingsSource(settings_cls, cls.config_file))


class _Environment(EnvSettingsSource):
    """The environment without what is not meant for the server."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls)
        given = {name: value for name, value in self.env_vars.items() if value is not None}
        self.env_vars = without_service_links(given)


def load_settings(flags: Mapping[str, Any], config_file: Path | None = None) -> Settings:
    """Put the settings together. Raises SettingsError with one line for each bad field."""
    with_file: type[Settings] = type("Settings", (Settings,), {"config_file": config_file})
    try:
        if config_file is not None and not config_file.is_file():
            raise SettingsError(f"the configuration file {config_file} does not exist")
        return with_file(**flags)
    except ValidationError as exc:
        raise SettingsError("; ".join(_describe(error) for error in exc.errors())) from None
    except ValueError as exc:  # TOML that does not parse
        raise SettingsError(f"{config_file}: {exc}") from None


def _usable_device(value: str, workers: int) -> str:
    """``cpu``, ``cuda:N``, or ``cuda`` for a GPU to each of several workers."""
    if value == "cpu":
        return value
    import torch  # takes seconds, and memory that the supervisor of workers on a CPU does without

    if value == "auto":
        value = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(value)
    except RuntimeError:
        raise ValueError("must be auto, cpu, cuda or cuda:N") from None
    if device.type == "cpu":
        return "cpu"
    if device.type != "cuda":
        raise ValueError("must be auto, cpu, cuda or cuda:N")
    count, index = torch.cuda.device_count(), device.index or 0
    if index >= count:
        raise ValueError(f"no such GPU; CUDA devices here: {count}")
    if workers == 1:
        return f"cuda:{index}"
    if device.index is not None:
        raise ValueError(
            f"{value} is one GPU, and a GPU takes one worker: set --workers 1, or --device cuda "
            "for a GPU to each worker"
        )
    if workers > count:
        raise ValueError(
            f"{workers} workers need a GPU each, and CUDA devices here are {count}: set fewer "
            "--workers, or --device cpu"
        )
    return "cuda"


def _describe(error: Any) -> str:
    name = ".".join(str(part) for part in error["loc"])
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        key = name.replace("-", "_")
        known = key != name and key in Settings.model_fields
        return f"unknown setting {name}{f'; here it is {key}' if known else ''}"
    return f"{name} ({name_of_flag(name)}, KOMPAKT_{name.upper()}): {message}"


def name_of_flag(field: str) -> str:
    """``max_images`` to ``--max-images``."""
    return "--" + field.replace("_", "-")
