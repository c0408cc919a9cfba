"""The event loop in which all calls of remote models are made."""

from __future__ import annotations

import asyncio
import os
import threading
from functools import lru_cache


def event_loop() -> asyncio.AbstractEventLoop:
    """The process's loop, which runs in a thread of its own for as long as the process lives.

    There is one for all models because the providers' libraries share connections within a process, and a connection
    works in the loop alone in which it was opened.
    """
    return _started(os.getpid())


@lru_cache(maxsize=1)
def _started(pid: int) -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="multicsr-remote", daemon=True).start()
    return loop
