"""The full counts: `make torture`, or `python -m tests.torture --kills 1000 --every 1 --sizes 40`."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.torture import kills, writes
from tests.torture.disk import memory_disk, outgrow


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000, help="how often a run is killed (default: 1000)")
    parser.add_argument("--every", type=int, default=1, help="every how manieth write fails (default: each)")
    parser.add_argument("--sizes", type=int, default=40, help="how many disks are too small (default: 40)")
    parser.add_argument("--lanes", type=int, default=len(os.sched_getaffinity(0)), help="runs at a time")
    asked = parser.parse_args()
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        os.environ |= {"MULTICSR_CACHE": str(place / "cache"), "OMP_NUM_THREADS": "1"}
        arena = kills.Arena(place / "arena")
        if asked.kills:
            begun = time.monotonic()
            tally = kills.kill_in_lanes(arena, asked.kills, asked.lanes)
            print(kills.table(tally, time.monotonic() - begun), end="\n\n", flush=True)
            faults += tally.faults
        if asked.sizes:
            with memory_disk(place / "disk") as disk:
                if disk is None:
                    print("disks too small: not tried, since that needs the right to mount", flush=True)
                else:
                    full = outgrow(arena, disk, asked.sizes)
                    print(
                        f"disks too small: {full.tried}, of them {full.refused} refused by a message and gone on with "
                        f"later, {len(full.faults)} faults",
                        flush=True,
                    )
                    faults += full.faults
        if asked.every:
            (place / "writes").mkdir()
            found = writes.run(place / "writes", asked.every)
            print(
                f"failing writes: {found['tried']} ({found['writes']} writes of a run, passing and lasting), of them "
                f"{found['refused']} refused by a message and gone on with later, {found['borne']} borne, "
                f"{len(found['faults'])} faults"
            )
            faults += found["faults"]
    for fault in faults[:50]:
        print(fault)
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
