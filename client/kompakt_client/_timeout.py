"""How long a timeout may be; apart, since the command line asks before it loads gRPC."""

from __future__ import annotations

import math

MOST_SECONDS = 365 * 24 * 60 * 60
"""A year: deadlines far beyond it overflow clocks, and with them gRPC's."""


def fault_of_timeout(seconds: float) -> str | None:
    """Return what is wrong with a timeout, to be said after its name; None if nothing is."""
    if not seconds > 0 or seconds == math.inf:
        return "must be a positive number of seconds"
    if seconds > MOST_SECONDS:
        return f"must be at most {MOST_SECONDS} seconds, a year"
    return None
