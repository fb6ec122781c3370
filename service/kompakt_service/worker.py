"""A worker: a server in a process of its own, which a supervisor starts, leads and replaces.

Signals mean nothing to a worker: they may reach it and the supervisor both, and only the supervisor
knows what to make of them.
"""

import logging
import os
import signal
import sys
import threading
from multiprocessing.connection import Connection

from kompakt_codec.errors import CheckpointError
from kompakt_codec.process import prepare_process
from kompakt_service.group_metrics import write_as_worker
from kompakt_service.logs import configure_logging
from kompakt_service.orders import DRAIN, FAILED, HURRY, LOADED, ORDERS, SERVE, SERVING, STOP, Pipe
from kompakt_service.ports import StartError
from kompakt_service.server import Server
from kompakt_service.settings import Settings
from kompakt_service.turns import switch_often


def main(pipe: Pipe) -> int:
    """Serve until ordered to stop. Returns the exit status."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    prepare_process()
    switch_often()
    try:
        return _run(pipe)
    except (EOFError, BrokenPipeError):  # the supervisor is gone before there was anything to stop
        return 1


def _run(pipe: Pipe) -> int:
    number, values = pipe.recv()
    settings = Settings(**values)
    configure_logging(settings.log_level, settings.log_format, worker=number)
    write_as_worker(number)
    try:
        server = Server(settings, shared=True)
        pipe.send((LOADED, [model.name for model in server.store]))
        if pipe.recv() != SERVE:
            return 0
        server.start()
    except (CheckpointError, StartError) as exc:
        pipe.send((FAILED, str(exc)))
        return 1
    pipe.send((SERVING,))
    _obey(server, _Orders(pipe), settings.grace_seconds)
    return 0


def _obey(server: Server, orders: "_Orders", grace_seconds: float) -> None:
    orders[DRAIN].wait()
    server.drain()
    orders[STOP].wait()
    server.stop(grace_seconds, hurry=orders[HURRY].is_set)


class _Orders(dict[str, threading.Event]):
    """What the supervisor has ordered so far, read on a thread. Its end is an order to stop."""

    def __init__(self, pipe: Pipe) -> None:
        super().__init__({order: threading.Event() for order in ORDERS})
        threading.Thread(target=self._read, args=(pipe,), name="orders", daemon=True).start()

    def _read(self, pipe: Pipe) -> None:
        try:
            while True:
                self._take(pipe.recv())
        except (EOFError, OSError):
            self._take(STOP)

    def _take(self, order: str) -> None:
        for included in ORDERS[: ORDERS.index(order) + 1]:
            self[included].set()


if __name__ == "__main__":
    exit_status = main(Connection(int(sys.argv[1])))
    logging.shutdown()
    # Everything is stopped; at an ordinary exit a thread of gRPC's core that is still about can
    # meet its own destructor, and abort.
    os._exit(exit_status)
