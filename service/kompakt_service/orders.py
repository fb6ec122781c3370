"""What a supervisor and its workers say to each other, over a pipe.

The supervisor sends the worker's number and settings, then orders: SERVE, and of ORDERS what
comes. The worker sends tuples of one of the words below and what belongs to it. Either takes the
end of the pipe for the end of the other.
"""

from multiprocessing.connection import Connection
from typing import Any, TypeAlias

LOADED = "loaded"
"""The models are loaded; their names follow."""
SERVING = "serving"
"""The worker takes calls."""
FAILED = "failed"
"""The worker cannot start and ends; the reason follows."""

SERVE = "serve"
"""Listen and take calls."""
DRAIN, STOP, HURRY = ORDERS = "drain", "stop", "hurry"
"""Report NOT_SERVING; finish accepted calls and end; end at once. Each includes those before."""

Pipe: TypeAlias = "Connection[Any, Any]"
