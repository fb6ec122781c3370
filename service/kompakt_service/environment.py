"""What stands in the environment beside settings. Imports nothing that takes time."""

import re
from collections.abc import Iterable, Iterator, Mapping

PREFIX = "KOMPAKT_"
_OF_OTHERS = frozenset(
    PREFIX + name for name in ("TARGET", "TIMEOUT", "TOKEN", "CA", "CERT", "KEY", "DATA_DIR")
)
"""The client's and the training's."""
_SERVICE_LINKS = re.compile(PREFIX + r"(\w+_)?(SERVICE_(HOST|PORT)|PORT_\d)")


def without_service_links(environment: Mapping[str, str]) -> dict[str, str]:
    """Without what Kubernetes sets in every container beside a Service named kompakt or kompakt-*.

    That is a KOMPAKT_PORT of the form ``tcp://10.0.0.1:50051``, and others like it.
    """
    return {k: v for k, v in environment.items() if not v.startswith(("tcp://", "udp://"))}


def unknown_variables(environment: Mapping[str, str], settings: Iterable[str]) -> Iterator[str]:
    """Names that look like settings and are none, with nobody else to read them."""
    known = _OF_OTHERS | {PREFIX + name.upper() for name in settings}
    for name in sorted(without_service_links(environment)):
        is_known = name.upper() in known  # settings are read in any case
        if name.startswith(PREFIX) and not is_known and not _SERVICE_LINKS.match(name):
            yield name
