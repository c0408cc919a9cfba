"""How the threads of a computation wait for one another."""

from __future__ import annotations

import os

SPIN_VARIABLE = "GOMP_SPINCOUNT"
SPIN_COUNT = "1000"


def share_cores() -> None:
    """Lets OpenMP threads (llama.cpp's, PyTorch's) sleep soon while they wait, unless the user chose otherwise.

    By default they spin for milliseconds, which costs nothing on an idle machine, but once another program wants a
    core too, each waits for threads that the spinning keeps from running: measured, generation seven times slower.
    It must be called before the library is loaded; processes started later inherit it.
    """
    os.environ.setdefault(SPIN_VARIABLE, SPIN_COUNT)
