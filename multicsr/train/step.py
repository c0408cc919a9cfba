"""One training step: from the rows of a batch to updated weights, on one process or several, in what memory there is.

Every process embeds its share of the batch, all embeddings go to all processes, and each computes the whole batch's
loss and from it the gradients of its own share's embeddings, which it takes back through the encoder. Their sum over
the processes is what a single process would have computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from accelerate import Accelerator
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW, Optimizer

from multicsr.config import TrainConfig
from multicsr.errors import StageError
from multicsr.memory import is_out_of_memory
from multicsr.train.data import NO_TEXT, Tokens, derive_seed
from multicsr.train.objective import Masks, batch_loss, batch_masks
from multicsr.train.passes import Passes, trained

T = TypeVar("T")


class NonFiniteError(StageError):
    """The loss or its gradient is not finite; the weights are what they were before the step."""


class StepResult(NamedTuple):
    """One step.

    Attributes:
        loss: of the whole batch, in nats.
        mask_rate: share of the off-diagonal in-batch logits that were masked, 0 to 1.
        grad_norm: before clipping.
        masked: up to eight (anchor's text number, masked text's number).
        micro_batch: triplets of a process whose activations were held at a time; None is all.
    """

    loss: float
    mask_rate: float
    grad_norm: float
    masked: list[tuple[int, int]]
    micro_batch: int | None


def make_optimizer(model: SentenceTransformer, config: TrainConfig, head: nn.Module | None = None) -> Optimizer:
    """AdamW; weight decay spares biases and normalisation weights, as is usual."""
    weights = trained(model, head)
    matrices = [weight for weight in weights if weight.ndim >= 2]
    vectors = [weight for weight in weights if weight.ndim < 2]
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    fused = model.device.type in ("cpu", "cuda")
    return AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay, fused=fused)


def learning_rate(step: int, total: int, config: TrainConfig) -> float:
    """Linear warm-up to `config.learning_rate` over its share of the steps, then linear decay towards 0.

    Args:
        step: from 1 to `total`; no step has a rate of 0.
        total: steps of the training.
        config: gives the peak and `warmup`.
    """
    warmup = max(1, round(config.warmup * total))
    return config.learning_rate * min(step / warmup, (total + 1 - step) / (total + 1 - warmup))


class Stepper:
    """What the steps of a training share.

    Args:
        model: the encoder.
        optimizer: of its weights and the head's.
        tokens: the token ids of every text, U texts.
        config: the training's.
        accelerator: knows the other processes.
        head: what comes after the encoder in training only; None for nothing.
        teacher: float32 [U, D], the teacher's embedding of every text, on the CPU; None masks equal texts only.

    Attributes:
        micro_batch: triplets of a process whose activations are held at a time; None is all. It is halved when memory
            runs out.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        optimizer: Optimizer,
        tokens: Tokens,
        config: TrainConfig,
        *,
        accelerator: Accelerator,
        head: nn.Module | None = None,
        teacher: Tensor | None = None,
    ) -> None:
        self._model, self._head, self._optimizer = model, head, optimizer
        self._config, self._accelerator, self._teacher = config, accelerator, teacher
        self._passes = Passes(model, head, tokens, config)
        self.micro_batch = config.micro_batch

    def step(
        self,
        rows: Tensor,
        order: Tensor | None = None,
        contrasted: Tensor | None = None,
        *,
        seed: int,
        learning_rate: float,
    ) -> StepResult:
        """Updates the weights on one batch. Every process calls this with the same arguments.

        When memory runs out before the weights have changed, the step is taken again with half the micro-batch, to
        the same gradients; so the effective batch stays.

        Args:
            rows: int64 [B, 3], text numbers of anchor, positive and hard negative, −1 for none; [B, 2] for pairs.
            order: [B, W − 1], what the graded loss goes by, see `wanted_order`; None without one.
            contrasted: bool [B], the rows that the contrastive loss is of; None for all.
            seed: of dropout, which differs from process to process; PyTorch's generators are left elsewhere.
            learning_rate: of this step.

        Raises:
            NonFiniteError: if the loss or its gradient is not finite, before it reaches the weights.
            StageError: if memory does not suffice for a micro-batch of 1, or the encoder cannot be compiled.
        """
        self._model.train()
        if self._head is not None:
            self._head.train()
        chosen = torch.arange(len(rows)) if contrasted is None else contrasted.nonzero().flatten()
        while (found := self._gradients(rows, order, chosen, seed)) is None:
            self._shrink(len(rows))
        loss, masks = found
        grad_norm = clip_grad_norm_(trained(self._model, self._head), self._config.max_grad_norm)
        # The accelerator is waited for here, once a step.
        measured = torch.stack([loss, masks.rate.to(loss), grad_norm.to(loss)])
        loss_value, mask_rate, norm = measured.tolist()
        self._check_finite(loss_value, norm)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        try:
            self._optimizer.step()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise self._too_little("its optimizer") from None
        return StepResult(loss_value, mask_rate, norm, masks.examples(), self.micro_batch)

    def _gradients(self, rows: Tensor, order: Tensor | None, chosen: Tensor, seed: int) -> tuple[Tensor, Masks] | None:
        """Computes the batch's loss and the weights' gradients; None if memory ran out, here or elsewhere."""
        count, width = rows.shape
        start, end = self._share(count)
        # A process without a share embeds what it does not need, so that it takes part in all that follows.
        texts = (rows[start:end] if start < end else rows[:1]).flatten()
        there = (texts != NO_TEXT).nonzero().flatten()
        most = None if self.micro_batch is None else self.micro_batch * width
        seed = derive_seed(seed, "process", self._accelerator.process_index)
        self._passes.clear_gradients()

        embedded = self._or_none(lambda: self._passes.embed(texts[there], seed=seed, most=most))
        if embedded is None:
            return None
        places = there.to(embedded.vectors.device)
        own = embedded.vectors.new_zeros(len(texts), embedded.vectors.shape[1]).index_copy(0, places, embedded.vectors)
        vectors = self._gather(own[: (end - start) * width], count, width)

        def back() -> tuple[Tensor, Masks]:
            leaf = vectors.view(count, width, -1).requires_grad_()
            masks = batch_masks(rows[chosen], self._teacher, self._config, leaf.device)
            loss = batch_loss(leaf, masks, chosen, order, self._config)
            (of_all,) = torch.autograd.grad(loss, leaf)
            gradient = torch.zeros_like(own)
            gradient[: (end - start) * width] = of_all[start:end].flatten(0, 1)
            self._passes.backward(embedded, gradient[places])
            return loss.detach(), masks

        found = self._or_none(back)
        if found is not None:
            self._sum_gradients()
        return found

    def _share(self, count: int) -> tuple[int, int]:
        """From where to where this process's rows go; the shares differ by one row at most."""
        rank, size = self._accelerator.process_index, self._accelerator.num_processes
        return count * rank // size, count * (rank + 1) // size

    def _gather(self, own: Tensor, count: int, width: int) -> Tensor:
        """The embeddings of all processes, [B · W, D], from this one's, in the order of the rows."""
        size = self._accelerator.num_processes
        if size == 1:
            return own
        ends = [count * (rank + 1) // size for rank in range(size)]
        shares = [(end - start) * width for start, end in zip([0, *ends], ends, strict=False)]
        filled = own.new_zeros(max(shares), own.shape[1])
        filled[: len(own)] = own
        parts = self._accelerator.gather(filled).split(max(shares))
        return torch.cat([part[:share] for part, share in zip(parts, shares, strict=True)])

    def _sum_gradients(self) -> None:
        """Adds up the processes' gradients; a weight that none of them used keeps none."""
        if self._accelerator.num_processes == 1:
            return
        weights = trained(self._model, self._head)
        uses = torch.tensor([weight.grad is not None for weight in weights], device=self._model.device).int()
        for weight, used in zip(weights, self._accelerator.reduce(uses).tolist(), strict=True):
            if used:
                own = torch.zeros_like(weight) if weight.grad is None else weight.grad
                weight.grad = self._accelerator.reduce(own)

    def _or_none(self, work: Callable[[], T]) -> T | None:
        """What `work` gives, or None, in every process, if memory ran out in any."""
        try:
            result = work()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            result = None
        # Here and not above, where the error still holds all that the work held.
        if self._accelerator.num_processes > 1:
            failures = torch.tensor([result is None], device=self._model.device).int()
            return None if self._accelerator.reduce(failures).item() else result
        return result

    def _shrink(self, count: int) -> None:
        """Halves the micro-batch.

        Raises:
            StageError: if it is 1 already.
        """
        share = math.ceil(count / self._accelerator.num_processes)
        held = min(self.micro_batch or share, share)
        if held == 1:
            raise self._too_little("a micro-batch of one triplet")
        self.micro_batch = held // 2
        if self._model.device.type == "cuda":
            torch.cuda.empty_cache()

    def _too_little(self, what: str) -> StageError:
        return StageError(
            f"the memory of {self._model.device} does not suffice for {what}; lower train.max_tokens (now "
            f"{self._config.max_tokens}) or train.batch_size (now {self._config.batch_size}), or choose a smaller "
            f"train.encoder (now {self._config.encoder})"
        )

    def _check_finite(self, loss: float, grad_norm: float) -> None:
        if not math.isfinite(loss) or not math.isfinite(grad_norm):
            raise NonFiniteError(
                f"the loss is {loss} and its gradient's norm {grad_norm}; lower train.learning_rate "
                f"(now {self._config.learning_rate:g}) or raise train.temperature (now {self._config.temperature:g})"
            )
