"""Training steps in processes of their own: one of two that share the work, and one with little memory."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Sequence
from pathlib import Path

import torch
import transformers.models.bert.modeling_bert  # noqa: F401 (imported here once, and not by every process anew)
from accelerate import Accelerator
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.optim import AdamW

from multicsr.config import TrainConfig
from multicsr.train.data import tabulate, tokenize
from multicsr.train.encoder import load_encoder
from multicsr.train.step import Stepper, StepResult

BATCHES = ((0, 7), (7, 11), (11, 12))  # the last one gives the first of two processes nothing to do
Triplets = Sequence[tuple[str, str, str]]


def still(model: SentenceTransformer) -> SentenceTransformer:
    """The model in float64 and without dropout, so that a difference is one of what is computed."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model.double()


def limit_batch(model: SentenceTransformer, most: int) -> None:
    """Gives the model a memory that holds so many texts."""

    def check(module: nn.Module, args: tuple[dict[str, Tensor], ...]) -> None:
        if len(args[0]["input_ids"]) > most:
            raise torch.OutOfMemoryError("out of memory")

    model.register_forward_pre_hook(check)


def take_steps(
    model: SentenceTransformer, triplets: Triplets, config: TrainConfig, accelerator: Accelerator
) -> list[StepResult]:
    """Steps on `BATCHES` of the triplets."""
    table = tabulate(triplets)
    optimizer = AdamW(model.parameters(), lr=1e-3)
    stepper = Stepper(model, optimizer, tokenize(model, table.texts), config, accelerator=accelerator)
    return [
        stepper.step(table.rows[start:end], seed=number, learning_rate=1e-3)
        for number, (start, end) in enumerate(BATCHES)
    ]


def share(rank: int, port: int, triplets: Triplets, config: TrainConfig, out: Path) -> None:
    """One of two processes; memory runs out in the second one alone."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    accelerator = Accelerator(cpu=True)
    model = load_encoder(config.encoder, device="cpu")
    seen = dropped(model, triplets, config, accelerator)
    model = still(load_encoder(config.encoder, device="cpu"))
    if rank == 1:
        limit_batch(model, 6)
    results = take_steps(model, triplets, config, accelerator)
    report = {
        "seen": seen,
        "loss": torch.tensor([result.loss for result in results]),
        "micro_batch": torch.tensor([result.micro_batch or 0 for result in results]),
    }
    save_file(dict(model.named_parameters()) | report, out)
    torch.distributed.destroy_process_group()


def dropped(model: SentenceTransformer, triplets: Triplets, config: TrainConfig, accelerator: Accelerator) -> Tensor:
    """The embeddings, with dropout, of a batch that is the same triplet twice, one for each process: [2, 3, D]."""
    table = tabulate(triplets[:1])
    optimizer = AdamW(model.parameters())
    stepper = Stepper(model, optimizer, tokenize(model, table.texts), config, accelerator=accelerator)
    seen: list[Tensor] = []
    gather = accelerator.gather
    accelerator.gather = lambda own: seen.append(gather(own)) or seen[-1]
    stepper.step(table.rows.repeat(2, 1), seed=0, learning_rate=0.0)
    accelerator.gather = gather
    return seen[0].reshape(2, 3, -1).detach().contiguous()


def run_short(triplets: Triplets, config: TrainConfig, spare_mb: int, out: Path) -> None:
    """Takes a step with so little memory to spare, the same one with all there is, and tells what came of both."""
    torch.set_num_threads(1)
    # oneDNN compiles code for new shapes, and maps memory for it that what tensors free cannot make up for.
    torch.backends.mkldnn.set_flags(False)
    table = tabulate(triplets)
    models, steppers = [], []
    for _ in range(2):
        model = load_encoder(config.encoder, device="cpu")
        optimizer = AdamW(model.parameters(), fused=True)
        tokens = tokenize(model, table.texts)
        steppers.append(Stepper(model, optimizer, tokens, config, accelerator=Accelerator(cpu=True)))
        steppers[-1].step(table.rows[:2], seed=0, learning_rate=1e-3)  # libraries and optimizer take what they need
        models.append(model)

    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + spare_mb * 2**20, resource.RLIM_INFINITY))
    short = steppers[0].step(table.rows, seed=1, learning_rate=1e-3)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    roomy = steppers[1].step(table.rows, seed=1, learning_rate=1e-3)
    same = [torch.equal(one, two) for one, two in zip(*(model.parameters() for model in models), strict=True)]
    report = {"same": all(same), "losses": [short.loss, roomy.loss], "micro": [short.micro_batch, roomy.micro_batch]}
    out.write_text(json.dumps(report))
