"""How the interpreter shares a process among its threads."""

import sys

_SECONDS = 0.0005


def switch_often() -> None:
    """Let threads of Python wait for each other by turns of half a millisecond, not of five.

    A thread that answers or refuses calls may else stand in line behind one for every call that is
    worked on. For the command to call: it holds for the whole process.
    """
    sys.setswitchinterval(_SECONDS)
