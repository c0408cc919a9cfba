"""Loads model folders one after the other and writes what became of each, a JSON line a folder.

Run as `python loader.py`, with lines `KIND PATH` on standard input, so that a dead or hanging loader is seen from
outside. What a folder must never cause is recorded: unpickling, `torch.load`, code from it, a download.
"""

from __future__ import annotations

import faulthandler
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

HANG_S = 60
MEMORY_BYTES = 8 << 30
forbidden: list[str] = []
watching: list[str] = []


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    if not watching:
        return
    if event == "pickle.find_class":
        forbidden.append(f"unpickled {arguments[0]}.{arguments[1]}")
    elif event == "open" and isinstance(arguments[0], str) and Path(arguments[0]).suffix in (".bin", ".pkl", ".pt"):
        forbidden.append(f"opened {arguments[0]}")
    elif event == "exec" and watching[0] in arguments[0].co_filename:
        forbidden.append(f"ran {arguments[0].co_filename}")
    elif event in ("subprocess.Popen", "os.system", "socket.connect"):
        forbidden.append(f"{event} {arguments}")


def load(kind: str, path: str) -> str:
    """Opens the folder as a run would and uses it once; what it answers is not the subject."""
    from multicsr.schemas import GenerateRequest, Sampling, ScoreRequest

    if kind == "encoder":
        from multicsr.train.encoder import embed, load_encoder

        return str(embed(load_encoder(path, device="cpu"), ["the cat eats bread", "no dog"]).shape)
    if kind == "classifier":
        from multicsr.backends.transformers_classifier import PairClassifier

        return str(PairClassifier.load(path, device="cpu").logits([("A bus.", "The train.")]))
    from multicsr.backends.transformers import TransformersModel

    with TransformersModel.load(path, spec=f"hf:{path}", device="cpu") as model:
        sampling = Sampling(max_tokens=4, stop=())
        answers = [*model.generate([GenerateRequest(prompt="A man", sampling=sampling)])]
        return str([*answers, *model.score([ScoreRequest(prompt="A man", continuations=(" is",))])])


def main() -> None:
    import torch

    from multicsr.errors import MulticsrError

    torch.set_num_threads(1)
    unguarded = torch.load
    torch.load = lambda *args, **kwargs: (forbidden.append("torch.load"), unguarded(*args, **kwargs))[1]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    sys.addaudithook(watch)
    replies, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        kind, path = line.rstrip("\n").split(" ", 1)
        faulthandler.dump_traceback_later(HANG_S, exit=True)
        before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        watching[:], forbidden[:] = [path], []
        try:
            outcome, said = "used", load(kind, path)
        except MulticsrError as error:
            outcome, said = "refused", str(error)
        except BaseException as error:
            outcome, said = "raised", f"{type(error).__module__}.{type(error).__name__}: {error}"
        watching.clear()
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
        report = {"path": path, "outcome": outcome, "said": said[:2000], "grown_mb": grown, "forbidden": [*forbidden]}
        print(json.dumps(report | {"seconds": round(time.process_time() - begun, 2)}), file=replies, flush=True)


if __name__ == "__main__":
    main()
