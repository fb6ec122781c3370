"""The commands and their arguments."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, get_args

from kompakt_client import _names
from kompakt_client.cli._arguments import (
    add_common,
    add_connections,
    add_fit,
    add_inputs,
    add_output,
    add_profile,
    add_quality,
)
from kompakt_client.cli._errors import USAGE
from kompakt_client.cli._values import level, model_name, names_list

_FORMATS = tuple(name for name in get_args(_names.Format) if name != "raw")
_BASELINES = get_args(_names.BaselineName)

_PLUGIN_HELP = {
    "serve": "run the server (needs the service extra)",
    "health": "tell whether a server is serving (needs the service extra)",
    "train": "train a model on your own images (needs the training extra)",
    "report": "compare trained models with the paper (needs the training extra)",
    "bench": "measure models and classical codecs (needs the training extra)",
    "sample": "draw new images from a model's prior (needs the training extra)",
    "import-compressai": "make a checkpoint of CompressAI's weights (needs the training extra)",
}

_EPILOG = """\
The server is found by --target, else by KOMPAKT_TARGET, else at localhost:50051.
KOMPAKT_TIMEOUT, KOMPAKT_TOKEN, KOMPAKT_CA, KOMPAKT_CERT and KOMPAKT_KEY are read too.
Exit status: 0 success, 1 failure (of any file), 2 wrong usage.
"""


class _Parser(argparse.ArgumentParser):
    """Reports an error in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Leaves room for the longest option beside its help."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28)


class _Version(argparse.Action):
    """Looks the version up only if it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from kompakt_client import __version__

        print(f"kompakt {__version__}")
        parser.exit()


def make_parser(plugins: Iterable[str] = ()) -> argparse.ArgumentParser:
    """Return the parser, whose help lists these plugins beside the client's commands."""
    parser = _Parser(
        prog="kompakt",
        description="Compress images with neural codecs, on a Kompakt server.",
        epilog=_EPILOG,
        formatter_class=_Formatter,
    )
    parser.add_argument(
        "-V", "--version", action=_Version, nargs=0, help="show the version and exit"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, add_command in COMMANDS.items():
        add_command(commands, name)
    for name in sorted(plugins):
        commands.add_parser(name, help=_PLUGIN_HELP.get(name, "a command of another package"))
    return parser


def _add_compress(commands: Any, name: str) -> None:
    parser = _command(commands, name, "compress images to .kpt files")
    add_inputs(parser, "an image file, or a directory: the image files directly in it")
    add_output(parser, "digit.png becomes digit.kpt")
    parser.add_argument(
        "--model",
        metavar="NAME",
        type=model_name,
        help="default: the server's default model; for compress, another if that does not take "
        "images of the first one's size",
    )
    add_profile(parser, "embedded streams are smaller, but do not name their model")
    add_fit(parser)
    parser.add_argument(
        "--keep-metadata",
        action="store_true",
        help="keep EXIF and XMP for the PNG, WebP or JPEG that the file is decompressed to",
    )
    add_quality(parser)
    add_connections(parser)
    add_common(parser, default="30, or 300 with --thorough or a quality other than --level")


def _add_decompress(commands: Any, name: str) -> None:
    parser = _command(commands, name, "decompress .kpt files to images")
    add_inputs(parser, "a .kpt file, or a directory: the .kpt files directly in it")
    add_output(parser, "digit.kpt becomes digit.png")
    parser.add_argument(
        "--format", choices=_FORMATS, help="of the images; default: by OUT's suffix, else png"
    )
    parser.add_argument(
        "--model", metavar="NAME", type=model_name, help="the model of embedded streams"
    )
    add_profile(parser, "how the streams were made")
    add_connections(parser)
    add_common(parser)


def _add_evaluate(commands: Any, name: str) -> None:
    parser = _command(commands, name, "measure models and classical codecs on images")
    add_inputs(parser, "an image file, or a directory: the image files directly in it")
    parser.add_argument(
        "--models", metavar="A,B", type=names_list(), help="default: all that accept the images"
    )
    parser.add_argument(
        "--baselines",
        metavar="A,B",
        type=names_list(_BASELINES),
        help=f"of {', '.join(_BASELINES)}, or none; default: all",
    )
    parser.add_argument(
        "--level",
        metavar="N",
        type=level,
        help="measure the models that have this rate level at it; default: each at its own",
    )
    parser.add_argument("--per-image", action="store_true", help="show each image's rows too")
    add_profile(parser, "how the models' streams are framed, and so counted")
    add_fit(parser)
    add_common(parser, default=300)


def _add_models(commands: Any, name: str) -> None:
    parser = _command(commands, name, "list the models that the server has loaded")
    parser.add_argument(
        "name",
        metavar="NAME",
        nargs="?",
        type=model_name,
        help="show this model, or NAME@VERSION, only",
    )
    add_common(parser)


def _add_load(commands: Any, name: str) -> None:
    parser = _change(commands, name, "load a checkpoint, or another version of a model")
    parser.add_argument("path", metavar="PATH", help="a file in the server's --models directory")
    parser.add_argument("--promote", action="store_true", help="make it current when it is loaded")
    add_common(parser, default=300)


def _add_unload(commands: Any, name: str) -> None:
    parser = _change(commands, name, "unload a version that is not current")
    parser.add_argument("model", metavar="NAME@VERSION", help="as `kompakt models` shows it")
    parser.add_argument(
        "--all", dest="all_versions", action="store_true", help="all versions of NAME"
    )
    add_common(parser, default=300)


def _add_promote(commands: Any, name: str) -> None:
    parser = _change(commands, name, "let a loaded version answer to its model's name")
    parser.add_argument("model", metavar="NAME@VERSION", help="as `kompakt models` shows it")
    add_common(parser, default=300)


def _add_rollback(commands: Any, name: str) -> None:
    parser = _change(commands, name, "go back to the version promoted before")
    parser.add_argument("name", metavar="NAME", help="the model")
    add_common(parser, default=300)


COMMANDS: dict[str, Callable[[Any, str], None]] = {
    "compress": _add_compress,
    "decompress": _add_decompress,
    "evaluate": _add_evaluate,
    "models": _add_models,
    "models load": _add_load,
    "models unload": _add_unload,
    "models promote": _add_promote,
    "models rollback": _add_rollback,
}
"""The client's commands; `cli/_NAME.py` holds what each does."""


def _change(commands: Any, name: str, summary: str) -> argparse.ArgumentParser:
    parser = _command(commands, name, summary)
    parser.set_defaults(module="kompakt_client.cli._change_models", change=name.split()[1])
    return parser


def _command(commands: Any, name: str, summary: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=_EPILOG,
        formatter_class=_Formatter,
    )
    parser.set_defaults(module=f"kompakt_client.cli._{name}")
    return parser
