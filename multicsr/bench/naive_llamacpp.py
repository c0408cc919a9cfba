"""What one writes with llama-cpp-python's `Llama`, one prompt at a time: the baseline of `multicsr bench`.

It is written with care, so that it is the idea that is slow: all cores, no copy of the logits that can be spared, the
cached prefix that `Llama` reuses by itself. Only the benchmark's child process imports this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from time import perf_counter
from typing import Any

import llama_cpp
import numpy as np
from llama_cpp import Llama, LogitsProcessorList
from numpy.typing import NDArray

from multicsr.backends.chat import chat_parts
from multicsr.bench.machine import cores, peak_bytes
from multicsr.bench.results import ScoringSpeed, WritingSpeed
from multicsr.bench.tasks import NaiveContrast, NaiveScore, Scored, Written
from multicsr.schemas import Completion, ContrastRequest, PromptText, ScoreRequest

CONTEXT = 512  # Llama's default
IMPOSSIBLE = np.float32(-1e30)

Floats = NDArray[np.float32]


def measure_contrast(task: NaiveContrast, on_step: Callable[[], None]) -> Written:
    """Writes a pair for every two requests, with one model, or with two where there is something to contrast."""
    llamas = open_llamas(
        task.model,
        [prompt for request in task.requests for prompt in (request.prompt, request.opposite)],
        more=1 + max(request.sampling.max_tokens for request in task.requests),
        count=2 if any(request.omega > 0 for request in task.requests) else 1,
        gpu_layers=task.gpu_layers,
    )
    for llama in llamas:
        llama.warm_up()
    answers: list[Completion] = []
    begun = perf_counter()
    for answer in naive_contrast(llamas, task.requests):
        answers.append(answer)
        if len(answers) % 2 == 0:
            on_step()
    speed = WritingSpeed(
        seconds=perf_counter() - begun,
        processed_tokens=sum(llama.evaluated for llama in llamas),
        decode_s=sum(llama.eval_s for llama in llamas),
        peak_bytes=peak_bytes(),
        sentences=len(answers) // 2,
        useful_tokens=sum(answer.tokens for answer in answers),
    )
    return Written(speed=speed, texts=tuple(answer.text for answer in answers))


def measure_score(task: NaiveScore, on_step: Callable[[], None]) -> Scored:
    """Scores every continuation by itself."""
    (llama,) = open_llamas(
        task.model,
        [request.prompt for request in task.requests],
        more=max(len(text.encode()) for request in task.requests for text in request.continuations),
        count=1,
        gpu_layers=task.gpu_layers,
        logits_all=True,
    )
    llama.warm_up()
    scores: list[float] = []
    begun = perf_counter()
    for score in naive_score(llama, task.requests):
        scores.append(score)
        on_step()
    speed = ScoringSpeed(
        seconds=perf_counter() - begun,
        processed_tokens=llama.evaluated,
        decode_s=llama.eval_s,
        peak_bytes=peak_bytes(),
        pairs=len(scores),
    )
    return Scored(speed=speed, scores=tuple(scores))


class CountingLlama(Llama):  # type: ignore[misc]
    """A `Llama` that counts the tokens it evaluates, and the seconds that takes."""

    def __init__(self, path: str, **options: Any) -> None:
        self.evaluated, self.eval_s = 0, 0.0
        super().__init__(path, n_threads=cores(), n_threads_batch=cores(), verbose=False, **options)

    def warm_up(self) -> None:
        """Touches the weights once, and counts from then on."""
        self.eval(tokenize(self, "Hello"))
        self.reset()
        self.evaluated, self.eval_s = 0, 0.0

    def eval(self, tokens: Sequence[int]) -> None:
        begun = perf_counter()
        super().eval(tokens)
        llama_cpp.llama_synchronize(self.ctx)
        self.eval_s += perf_counter() - begun
        self.evaluated += len(tokens)

    def last_logits(self) -> Floats:
        """Logits `[V]` after the last token, a view that lives until the next evaluation."""
        return np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(self.ctx, -1), (self.n_vocab(),))


class Contrast:
    """A logits processor: s = l − ω·l̂ among the plausible tokens, l̂ from a second model that follows along."""

    def __init__(self, opposite: CountingLlama, request: ContrastRequest, prompt_tokens: int) -> None:
        self.error: Exception | None = None
        self._opposite, self._omega = opposite, request.omega
        self._log_plausibility = float(np.log(request.plausibility))
        self._seen = prompt_tokens

    def __call__(self, ids: NDArray[np.intc], logits: Floats) -> Floats:
        try:
            new = ids[self._seen :].tolist()
            if new:
                self._opposite.eval(new)
                self._seen += len(new)
            plausible = logits >= logits.max() + self._log_plausibility
            return np.where(plausible, logits - self._omega * self._opposite.last_logits(), IMPOSSIBLE)
        except Exception as error:  # ctypes would print it, and decoding would go on without contrast
            self.error = error
            raise


def open_llamas(
    path: str, prompts: Sequence[PromptText], *, more: int, count: int, gpu_layers: int, logits_all: bool = False
) -> list[CountingLlama]:
    """`count` models whose context has room for each of the prompts and `more` tokens."""
    options = {"n_gpu_layers": gpu_layers, "logits_all": logits_all}
    first = CountingLlama(path, n_ctx=CONTEXT, **options)
    context = max(CONTEXT, more + max(len(tokenize(first, prompt)) for prompt in prompts))
    if context > CONTEXT:
        first.close()
        first = CountingLlama(path, n_ctx=context, **options)
    return [first, *(CountingLlama(path, n_ctx=context, **options) for _ in range(count - 1))]


def tokenize(llama: CountingLlama, prompt: PromptText, then: str = "") -> list[int]:
    """Token ids of a prompt, and of a text that goes on where it ends, as the engine makes them."""
    if isinstance(prompt, str):
        tokens: list[int] = llama.tokenize(f"{prompt}{then}".encode(), add_bos=True, special=False)
        return tokens
    bos, eos = (llama.detokenize([token], special=True).decode() for token in (llama.token_bos(), llama.token_eos()))
    parts = chat_parts(prompt, llama.metadata.get("tokenizer.chat_template", ""), bos=bos, eos=eos)
    ids = [id for text, own in [*parts, (then, False)] for id in llama.tokenize(text.encode(), False, own)]
    return ids if ids[0] == llama.token_bos() else llama.tokenize(b"", add_bos=True) + ids


def naive_contrast(llamas: Sequence[CountingLlama], requests: Iterable[ContrastRequest]) -> Iterator[Completion]:
    """Continues the prompts in turn, against their opposites if there is a second model.

    Raises:
        RuntimeError: what went wrong in the logits processor.
    """
    llama = llamas[0]
    for index, request in enumerate(requests):
        prompt = tokenize(llama, request.prompt)
        contrast = None
        if len(llamas) > 1:
            opposite = llamas[1]
            opposite.reset()
            opposite.eval(tokenize(opposite, request.opposite))
            contrast = Contrast(opposite, request, len(prompt))
        sampling = request.sampling
        answer = llama.create_completion(
            prompt,
            max_tokens=sampling.max_tokens,
            stop=list(sampling.stop),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=0,
            min_p=0.0,
            seed=request.seed % 2**32,
            logits_processor=LogitsProcessorList([contrast]) if contrast else None,
        )
        if contrast and contrast.error:
            raise RuntimeError(f"the logits processor failed: {contrast.error}")
        written = answer["choices"][0]
        tokens = answer["usage"]["completion_tokens"]
        yield Completion(index=index, text=written["text"], tokens=tokens, finish=written["finish_reason"])


def naive_score(llama: CountingLlama, requests: Iterable[ScoreRequest]) -> Iterator[float]:
    """Log-likelihood of every continuation, one evaluation of prompt and continuation each; needs `logits_all`."""
    for request in requests:
        prompt = tokenize(llama, request.prompt)
        for continuation in request.continuations:
            whole = tokenize(llama, request.prompt, continuation)
            border = next((n for n, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), len(prompt))
            llama.reset()
            llama.eval(whole)
            logits = llama.scores[border - 1 : len(whole) - 1]
            most = logits.max(axis=1)
            norms = most + np.log(np.exp(logits - most[:, None]).sum(axis=1))
            yield float((logits[np.arange(len(logits)), whole[border:]] - norms).sum())
