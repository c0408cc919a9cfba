"""Language models of the transformers library, causal and encoder-decoder, decoded in batches of two-stream rows."""

from __future__ import annotations

import gc
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

from multicsr.backends.transformers_decoding import Detokenizer, choose, contrastive_scores, cut
from multicsr.backends.transformers_loading import Checkpoint, explained, load_checkpoint
from multicsr.backends.transformers_streams import common_prefix, open_streams
from multicsr.backends.transformers_tokens import Ids, UnusablePromptError
from multicsr.errors import ModelError
from multicsr.memory import is_out_of_memory
from multicsr.schemas import (
    METHODS,
    Completion,
    ContrastRequest,
    GenerateRequest,
    ModelInfo,
    PromptText,
    RequestFailure,
    ScoreRequest,
    TokenLogProbs,
)

NOT_FINITE = "the model's logits are not finite"

WINDOW = 8
"""Batches of requests that are read ahead, so that each can be of prompts of about one length."""

BATCH_SIZE = {"cpu": 64, "cuda": 256}
"""By type of device; on a GPU a step takes hardly longer for more streams, until they fill it."""


@dataclass(frozen=True, eq=False)
class _Row:
    """A request to decode, with the tokens of its prompt and, where ω > 0, of the opposite one."""

    index: int
    request: GenerateRequest
    prompts: tuple[Ids, ...]

    @property
    def order(self) -> tuple[Any, ...]:
        """Longest first, so memory runs out at once if ever; requests with the same prompts next to each other."""
        return -max(map(len, self.prompts)), sorted(self.prompts), self.index

    @property
    def omega(self) -> float:
        return self.request.omega if isinstance(self.request, ContrastRequest) else 0.0

    @property
    def plausibility(self) -> float:
        return self.request.plausibility if isinstance(self.request, ContrastRequest) else 0.0


@dataclass(frozen=True, eq=False)
class _Pair:
    """A continuation to score: what stands before it, and its tokens.

    `siblings` is how many continuations its request has, itself included; the longest of them is `longest` tokens long
    with what stands before it.
    """

    request: int
    position: int
    siblings: int
    longest: int
    context: Ids
    target: Ids

    @property
    def order(self) -> tuple[Any, ...]:
        """Longest first; continuations of the same prompt next to each other."""
        return -self.longest, self.context, self.request, self.position


_Item = TypeVar("_Item", _Row, _Pair)
_Request = TypeVar("_Request")
_Answer = TypeVar("_Answer")


class _Output:
    """What a row has written so far."""

    def __init__(self, row: _Row, detokenizer: Detokenizer) -> None:
        self.row = row
        self._detokenizer = detokenizer
        self._stop = tuple(string for string in row.request.sampling.stop if string)
        self._end_tokens = detokenizer.end_tokens(self._stop)
        self._ids: list[int] = []
        self._ended = False
        self._failure = ""
        # Of the generators at hand, only this one promises the same numbers in every later version.
        self._random = random.Random(row.request.seed)  # noqa: S311

    @property
    def done(self) -> bool:
        return self._ended or bool(self._failure) or len(self._ids) >= self.row.request.sampling.max_tokens

    def draw(self) -> float:
        """A uniform number in [0, 1) for the next token, where one is sampled."""
        return self._random.random() if self.row.request.sampling.temperature else 0.0

    def append(self, token: int, *, finite: bool) -> None:
        if not finite:
            self._failure = NOT_FINITE
        elif token in self._end_tokens:
            self._ended = True
        else:
            self._ids.append(token)
            self._ended = self._detokenizer.stopped(self._ids, self._stop)

    def answer(self) -> Completion | RequestFailure:
        if self._failure:
            return RequestFailure(index=self.row.index, reason=self._failure)
        text = self._detokenizer.text(self._ids)
        before = cut(text, self._stop)
        return Completion(
            index=self.row.index,
            text=text if before is None else before,
            tokens=len(self._ids),
            finish="stop" if self._ended else "length",
        )


class TransformersModel:
    """A causal or encoder-decoder model behind the `LanguageModel` protocol.

    Decoding: s = l − ω·l̂ over the plausible tokens (design 1; `contrastive_scores`), with both streams of up to
    `batch_size` requests in one forward pass, a key/value cache, and rows leaving the batch as they finish. A
    completion's text ends before the first stop string and is otherwise as decoded, not stripped; its `tokens` count
    what was generated, without an end-of-sequence token.

    Args:
        checkpoint: the loaded model.
        spec: what the user typed.
        batch_size: requests in one batch, by default by the device; halved when its memory does not hold them.
    """

    def __init__(self, checkpoint: Checkpoint, *, spec: str, batch_size: int | None = None) -> None:
        self._checkpoint: Checkpoint | None = checkpoint
        self._spec = spec
        self._batch_size = batch_size or BATCH_SIZE.get(checkpoint.model.device.type, BATCH_SIZE["cpu"])

    @classmethod
    def load(cls, name: str, *, spec: str, device: str = "auto") -> TransformersModel:
        """Loads a Hub id, a folder or a GGUF file; see `load_checkpoint` for device, numeric type and errors."""
        model = cls(load_checkpoint(name, device), spec=spec)
        with explained(name, "it was loaded, but cannot be used"):
            list(model.score([ScoreRequest(prompt="A", continuations=(" sentence",))]))
        return model

    @property
    def info(self) -> ModelInfo:
        loaded = self._loaded
        return ModelInfo(
            spec=self._spec,
            backend="transformers",
            fingerprint=loaded.fingerprint,
            capabilities=METHODS,
            details={
                "architecture": type(loaded.model).__name__,
                "parameters": f"{loaded.model.num_parameters():,}",
                "dtype": str(loaded.model.dtype).removeprefix("torch."),
                "device": str(loaded.model.device),
            },
        )

    def generate(self, requests: Iterable[GenerateRequest]) -> Iterator[Completion | RequestFailure]:
        """Continues each prompt; answers come as they finish."""
        return self._complete(requests)

    def contrast(self, requests: Iterable[ContrastRequest]) -> Iterator[Completion | RequestFailure]:
        """Continues each prompt against its opposite; answers come as they finish."""
        return self._complete(requests)

    def score(self, requests: Iterable[ScoreRequest]) -> Iterator[TokenLogProbs | RequestFailure]:
        """Natural-log probabilities of the tokens of each continuation, given its prompt.

        For a causal model prompt and continuation are tokenised together, since a tokenizer may join them across the
        border; scored is what follows the tokens that the prompt shares with all of its continuations so tokenised.
        For an encoder-decoder model the continuation is what the decoder writes, without its end-of-sequence token.
        """
        for window in self._windows(requests):
            pairs: list[_Pair] = []
            for index, request in window:
                try:
                    own = self._pairs(index, request)
                except UnusablePromptError as error:
                    yield RequestFailure(index=index, reason=str(error))
                    continue
                pairs += own
                if not own:
                    yield TokenLogProbs(index=index, log_probs=())
            found: dict[int, dict[int, tuple[float, ...]]] = {}
            for pair, values in self._in_batches(pairs, self._log_probs):
                answers = found.setdefault(pair.request, {})
                answers[pair.position] = values
                if len(answers) == pair.siblings:
                    yield _scores(pair.request, [answers[n] for n in range(pair.siblings)])

    def close(self) -> None:
        """Frees the model; it cannot be used afterwards."""
        self._checkpoint = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _loaded(self) -> Checkpoint:
        if self._checkpoint is None:
            raise ModelError(f"{self._spec}: the model is closed")
        return self._checkpoint

    # --- tokens ------------------------------------------------------------------------------------------------------

    def _row(self, index: int, request: GenerateRequest, encode: Callable[[PromptText], Ids]) -> _Row:
        texts = [request.prompt]
        if isinstance(request, ContrastRequest) and request.omega > 0:
            texts.append(request.opposite)
        prompts = tuple(map(encode, texts))
        for prompt in prompts:
            self._check(prompt, request.sampling.max_tokens)
        return _Row(index, request, prompts)

    def _pairs(self, index: int, request: ScoreRequest) -> list[_Pair]:
        ids = self._contexts_and_targets(request)
        for context, target in ids:
            self._check(context, len(target))
        longest = max((len(context) + len(target) for context, target in ids), default=0)
        return [_Pair(index, n, len(ids), longest, *each) for n, each in enumerate(ids)]

    def _contexts_and_targets(self, request: ScoreRequest) -> list[tuple[Ids, Ids]]:
        tokens = self._loaded.tokens
        prompt = tokens.prompt(request.prompt)
        if self._loaded.encoder_decoder:
            return [(prompt, tokens.target(text)) for text in request.continuations]
        wholes = [tokens.prompt(request.prompt, text) for text in request.continuations]
        shared = min((common_prefix(prompt, whole) for whole in wholes), default=0)
        return [(whole[:shared], whole[shared:]) for whole in wholes]

    def _check(self, prompt: Ids, more: int) -> None:
        """Whether the model can read a prompt and `more` tokens after it.

        Raises:
            UnusablePromptError: it cannot.
        """
        if not prompt:
            raise UnusablePromptError("an empty prompt")
        need = max(len(prompt), 1 + more) if self._loaded.encoder_decoder else len(prompt) + more
        limit = self._loaded.context
        if limit is not None and need > limit:
            raise UnusablePromptError(f"prompt and answer need {need} tokens, the model's context has {limit}")

    # --- batches -----------------------------------------------------------------------------------------------------

    def _windows(self, requests: Iterable[_Request]) -> Iterator[list[tuple[int, _Request]]]:
        """The requests with their numbers, as many at a time as can be sorted without holding all of them."""
        numbered = enumerate(requests)
        while window := list(islice(numbered, WINDOW * self._batch_size)):
            yield window

    def _complete(self, requests: Iterable[GenerateRequest]) -> Iterator[Completion | RequestFailure]:
        for window in self._windows(requests):
            encode = cache(self._loaded.tokens.prompt)  # mostly, a prompt is also an opposite one
            rows: list[_Row] = []
            for index, request in window:
                try:
                    rows.append(self._row(index, request, encode))
                except UnusablePromptError as error:
                    yield RequestFailure(index=index, reason=str(error))
            for _, answer in self._in_batches(rows, self._decode):
                yield answer

    def _in_batches(
        self, items: Sequence[_Item], work: Callable[[list[_Item]], Iterator[tuple[_Item, _Answer]]]
    ) -> Iterator[tuple[_Item, _Answer]]:
        """Every item with its answer. Where memory runs out, what has none yet is tried again in smaller batches."""
        waiting = sorted(items, key=lambda item: item.order)
        while waiting:
            batch, waiting = waiting[: self._batch_size], waiting[self._batch_size :]
            answered = set()
            try:
                for item, answer in work(batch):
                    answered.add(item)
                    yield item, answer
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if len(batch) == 1:
                    raise ModelError(
                        f"{self._spec}: the device's memory does not hold one sentence; use a smaller model or the cpu"
                    ) from error
                self._batch_size = len(batch) // 2
            waiting = [item for item in batch if item not in answered] + waiting

    def _decode(self, rows: list[_Row]) -> Iterator[tuple[_Row, Completion | RequestFailure]]:
        detokenizer = Detokenizer(self._loaded.tokenizer, self._loaded.end_tokens)
        live = [_Output(row, detokenizer) for row in rows]
        owners = _owners(live)
        streams = open_streams(self._loaded.model)
        logits = streams.start([live[owner].row.prompts[n >= len(live)] for n, owner in enumerate(owners)])
        while True:
            tokens, finite = _next_tokens(live, owners, logits)
            for output, token, good in zip(live, tokens, finite, strict=True):
                output.append(token, finite=good)
            yield from ((output.row, output.answer()) for output in live if output.done)
            keep = [n for n, owner in enumerate(owners) if not live[owner].done]
            if not keep:
                return
            logits = streams.step(keep, [tokens[owners[n]] for n in keep])
            live = [output for output in live if not output.done]
            owners = _owners(live)

    def _log_probs(self, pairs: list[_Pair]) -> Iterator[tuple[_Pair, tuple[float, ...]]]:
        streams = open_streams(self._loaded.model)
        answers = streams.score([pair.context for pair in pairs], [pair.target for pair in pairs])
        yield from zip(pairs, map(tuple, answers), strict=True)


def _owners(live: Sequence[_Output]) -> list[int]:
    """Which output each stream of a batch serves: first the intended streams, then the opposite ones."""
    return [*range(len(live)), *(n for n, output in enumerate(live) if len(output.row.prompts) > 1)]


def _next_tokens(live: Sequence[_Output], owners: Sequence[int], logits: Tensor) -> tuple[list[int], list[bool]]:
    """A token for each of B outputs from the logits [S, V] of their streams, and whether those are finite."""
    intended = logits[: len(live)]
    contrasted = torch.tensor(owners[len(live) :], dtype=torch.long, device=logits.device)
    opposite = torch.zeros_like(intended).index_copy_(0, contrasted, logits[len(live) :])
    omega = torch.tensor([output.row.omega for output in live], device=logits.device)
    plausibility = torch.tensor([output.row.plausibility for output in live], device=logits.device)
    sampling = [output.row.request.sampling for output in live]
    tokens = choose(
        contrastive_scores(intended, opposite, omega, plausibility),
        [each.temperature for each in sampling],
        [each.top_p for each in sampling],
        [output.draw() for output in live],
    )
    # Tokens that a model never writes may have −inf; the largest logit shows infinity and NaN wherever they stand.
    finite: list[bool] = (intended.amax(-1) + opposite.amax(-1)).isfinite().tolist()
    return tokens, finite


def _scores(index: int, log_probs: Sequence[tuple[float, ...]]) -> TokenLogProbs | RequestFailure:
    if not all(map(math.isfinite, (value for values in log_probs for value in values))):
        return RequestFailure(index=index, reason=NOT_FINITE)
    return TokenLogProbs(index=index, log_probs=tuple(log_probs))
