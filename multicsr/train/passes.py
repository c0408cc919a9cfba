"""Forward and backward passes of a batch through the encoder: by groups of similar length, as few held as asked for.

Gradient caching (arXiv 2101.06983): the loss needs all embeddings of a batch at once, but not all activations. Each
group of texts is embedded; of most groups the activations are dropped, and once the gradient of the loss with respect
to the embeddings is known, the group is embedded again and the gradient pushed through. Each group seeds its own
dropout, so that the second time is the first time again, and how much is held changes no gradient; only where not even
one group may be held are there other, smaller ones, and with them other draws of dropout.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from multicsr.config import TrainConfig
from multicsr.errors import StageError
from multicsr.train.batching import group_by_length, padded
from multicsr.train.data import Tokens, derive_seed

# Padded tokens of a group. A CPU's matrix products are at their best with few rows already, so that there a group can
# be small and its texts nearly equally long; an accelerator needs many rows to be busy.
CPU_TOKENS = 384
ACCELERATOR_TOKENS = 16384
# On a CPU, the gradient of an embedding table with more rows than this is collected row by row. As a whole table for
# every group, that of BERT's vocabulary took a tenth of the step.
LARGE_TABLE = 4096


@dataclass(frozen=True)
class Embedded:
    """Embeddings, and what is needed to go back from them.

    Attributes:
        texts: int64 [N], the texts' numbers.
        groups: int64 [G] each, positions in `texts`.
        seed: of the dropout of all groups.
        vectors: [N, D], without gradient, float32 at least.
        held: number of a group → its embeddings, [G, D], with the activations.
    """

    texts: Tensor
    groups: list[Tensor]
    seed: int
    vectors: Tensor
    held: dict[int, Tensor] = field(default_factory=dict)


class Passes:
    """Takes texts through an encoder and its head, and gradients back.

    Args:
        model: the encoder, in train mode.
        head: what comes after it in training only; None for nothing.
        tokens: the token ids of every text.
        config: precision and compiling.
    """

    def __init__(self, model: SentenceTransformer, head: nn.Module | None, tokens: Tokens, config: TrainConfig) -> None:
        self._model, self._head, self._tokens = model, head, tokens
        self._precision, self._compile = config.precision, config.compile
        self._compiled = False

    def embed(self, texts: Tensor, *, seed: int, most: int | None) -> Embedded:
        """Embeds texts.

        Args:
            texts: int64 [N], their numbers, at least one.
            seed: of the dropout; PyTorch's generators are left elsewhere than before.
            most: texts whose activations are held, at most; None for all.

        Raises:
            StageError: if the encoder cannot be compiled.
        """
        if self._compile and not self._compiled:
            _compile_layers(self._model)
            self._compiled = True
        device = self._model.device
        budget = CPU_TOKENS if device.type == "cpu" else ACCELERATOR_TOKENS
        most = len(texts) if most is None else most
        groups = group_by_length(self._tokens, texts, budget=budget, most=most)
        vectors: list[Tensor] = []
        held: dict[int, Tensor] = {}
        left = len(texts)
        with self._autocast():
            for number, group in enumerate(groups):
                found = self._forward(texts[group], derive_seed(seed, "group", number))
                vectors.append(found.detach())
                if left <= most:
                    held[number] = found
                left -= len(group)
        places = torch.cat(groups).argsort().to(device)
        return Embedded(texts, groups, seed, torch.cat(vectors)[places], held)

    def backward(self, embedded: Embedded, gradient: Tensor) -> None:
        """Adds to the gradients of the weights, given the loss's with respect to the embeddings, [N, D].

        What is held is used up.
        """
        for number, group in reversed(list(enumerate(embedded.groups))):
            vectors = embedded.held.pop(number, None)
            if vectors is None:
                with self._autocast():
                    vectors = self._forward(embedded.texts[group], derive_seed(embedded.seed, "group", number))
            with _compiling(self._compiled):
                vectors.backward(gradient[group.to(gradient.device)])  # type: ignore[no-untyped-call]

    def clear_gradients(self) -> None:
        """Drops the gradients of the last step; to be called before `embed`."""
        tables = {id(weight) for weight in self._large_tables()}
        for weight in trained(self._model, self._head):
            if id(weight) not in tables:
                weight.grad = None
            elif weight.grad is None:
                weight.grad = torch.zeros_like(weight)
            else:
                weight.grad.zero_()

    def _large_tables(self) -> Iterator[Tensor]:
        """Weights of embedding tables whose gradients come by rows; added to a dense gradient, they leave it dense."""
        if self._model.device.type != "cpu":
            return
        for module in self._model.modules():
            if (
                isinstance(module, nn.Embedding)
                and module.num_embeddings > LARGE_TABLE
                and not module.scale_grad_by_freq
            ):
                module.sparse = True
                yield module.weight

    def _forward(self, texts: Tensor, seed: int) -> Tensor:
        """Embeds one group, [G, D]; with gradient always, for without it kernels may draw their dropout otherwise."""
        torch.manual_seed(seed)
        device = self._model.device
        features = padded(self._tokens, texts, self._model.tokenizer.pad_token_id or 0)
        with _compiling(self._compiled):
            vectors: Tensor = self._model({name: part.to(device) for name, part in features.items()})[
                "sentence_embedding"
            ]
        if self._head is not None:
            vectors = self._head(vectors)
        return vectors.to(torch.promote_types(vectors.dtype, torch.float32))

    def _autocast(self) -> torch.autocast:
        device = self._model.device.type
        on_its_own = device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        wanted = self._precision == "bf16" or (self._precision == "auto" and on_its_own)
        return torch.autocast(device, torch.bfloat16, enabled=wanted)


def trained(model: nn.Module, head: nn.Module | None) -> list[nn.Parameter]:
    """The weights that training changes, each once."""
    modules = nn.ModuleList([model] if head is None else [model, head])
    return [weight for weight in modules.parameters() if weight.requires_grad]


def _compile_layers(model: SentenceTransformer) -> None:
    """Compiles the layers of a transformer, whose code is the same for all and so is compiled once.

    Raises:
        StageError: if it has none.
    """
    stacks = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module)]
    if not stacks:
        raise StageError("train.compile: this encoder has no stack of layers to compile; set train.compile to false")
    for layer in max(stacks, key=len):
        layer.compile(fullgraph=True, dynamic=True)


@contextmanager
def _compiling(compiled: bool) -> Iterator[None]:
    if not compiled:
        yield
        return
    from torch._dynamo import exc

    try:
        yield
    except (exc.TorchDynamoException, exc.FailOnRecompileLimitHit) as error:
        why = " ".join(str(error).split())[:300]
        raise StageError(f"train.compile: the encoder cannot be compiled: {why}; set train.compile to false") from error
