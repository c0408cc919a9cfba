"""Makes every write to a run folder fail once, and looks at what is left.

`LD_PRELOAD=faulty.so python -m tests.torture.writes PLACE STEP`, which `run` does, prints what it found as JSON. Each
write is tried on a run of its own: once with an error that passes, once with a disk that stays full.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

SENTENCES = 9
SOURCE = Path(__file__).with_name("faulty.c")


def build(place: Path) -> Path | None:
    """Compiles the failing layer; None where there is no C compiler or no Linux."""
    library = place / "faulty.so"
    try:
        command = ["cc", "-shared", "-fPIC", "-O1", "-w", "-o", str(library), str(SOURCE), "-ldl"]
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return library if sys.platform == "linux" else None


def run(place: Path, step: int) -> dict[str, Any]:
    """Lets every `step`-th write fail.

    Returns:
        writes: how many an undisturbed run does; tried: how many failures were made; refused: how many of them ended
        the run with a message; borne: how many it did without; faults: what must not be.
    """
    library = build(place)
    if library is None:
        raise OSError("no C compiler here")
    environment = os.environ | {"LD_PRELOAD": str(library), "FAULTY": str(library)}
    command = [sys.executable, "-m", "tests.torture.writes", str(place), str(step)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def in_child(work: Callable[[], str]) -> str:
    """What the function says, in a process of its own, which shares nothing with the next."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            said = work()
        except BaseException:
            said = "fault: " + traceback.format_exc()
        os.write(writing, said.encode()[:60_000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(pid, 0)
    return said


def main(place: Path, step: int) -> dict[str, Any]:
    from tests.torture import fakerun, tinyrun

    library = ctypes.CDLL(os.environ["FAULTY"])
    sentences = fakerun.save_sentences(place / "sentences.txt", SENTENCES)

    def go(folder: Path, nth: int, error: int, lasting: bool) -> str:
        library.fail_at(str(folder).encode(), nth, error, lasting)
        try:
            with fakerun.open_run(folder, sentences) as work:
                fakerun.go_on(work)
        except OSError as caught:
            return f"refused: {caught}"
        finally:
            seen = library.writes_seen()
            library.fail_at(b"", 0, 0, 0)
        return f"done {seen}"

    go(place / "warm-up", 0, 0, False)  # here, so that no child has to import anything
    whole = place / "whole"
    writes = int(in_child(lambda: go(whole, 0, 0, False)).removeprefix("done "))
    expected = tinyrun.rows(whole)
    found: dict[str, Any] = {"writes": writes, "tried": 0, "refused": 0, "borne": 0, "faults": []}

    def judge(folder: Path, said: str) -> str | None:
        if not said.startswith(("done", "refused")):
            return said
        if said.startswith("refused") and str(folder) not in said:
            return f"no path in: {said}"
        if (folder / tinyrun.DATABASE).exists() and (damage := in_child(lambda: tinyrun.damage(folder) or "")):
            return f"damaged after {said}: {damage}"
        again = in_child(lambda: go(folder, 0, 0, False))
        if not again.startswith("done"):
            return f"after {said} it does not go on: {again}"
        rows = tinyrun.rows(folder)
        return None if rows == expected else f"after {said} other rows: {tinyrun.beyond(rows, expected)}"

    for lasting in (False, True):
        for nth in range(1, writes + 1, step):
            folder = place / f"run-{int(lasting)}-{nth}"
            error = errno.ENOSPC if lasting else errno.EIO
            said = in_child(lambda f=folder, n=nth, e=error, on=lasting: go(f, n, e, on))  # type: ignore[misc]
            found["tried"] += 1
            found["refused" if said.startswith("refused") else "borne"] += 1
            if fault := judge(folder, said):
                found["faults"].append(f"write {nth}{' and on' if lasting else ''}: {fault}")
    return found


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))))
