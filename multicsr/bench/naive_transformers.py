"""What one writes with transformers' `generate()`, one prompt at a time: the baseline of `multicsr bench` for hf:NAME.

It is written with care, so that it is the idea that is slow: the second pass has a key/value cache of its own, and an
encoder reads each prompt once. Only the benchmark's child process imports this module.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from multicsr.backends.transformers_decoding import Detokenizer, cut
from multicsr.backends.transformers_loading import Checkpoint, cache_argument, load_checkpoint
from multicsr.bench.machine import gpu_peak_bytes, peak_bytes
from multicsr.bench.results import WritingSpeed
from multicsr.bench.tasks import NaiveContrast, Written
from multicsr.schemas import Completion, ContrastRequest


def measure_contrast(task: NaiveContrast, on_step: Callable[[], None]) -> Written:
    """Writes a pair for every two requests."""
    checkpoint = load_checkpoint(task.model, task.device)
    list(naive_contrast(checkpoint, task.requests[:2]))  # what a first call costs once is not counted
    answers: list[Completion] = []
    begun = perf_counter()
    for answer in naive_contrast(checkpoint, task.requests):
        answers.append(answer)
        if len(answers) % 2 == 0:
            on_step()
    speed = WritingSpeed(
        seconds=perf_counter() - begun,
        peak_bytes=peak_bytes(),
        gpu_peak_bytes=gpu_peak_bytes(),
        sentences=len(answers) // 2,
        useful_tokens=sum(answer.tokens for answer in answers),
    )
    return Written(speed=speed, texts=tuple(answer.text for answer in answers))


class Contrast(LogitsProcessor):  # type: ignore[misc]
    """A logits processor: s = l − ω·l̂ among the plausible tokens, l̂ from a second pass that follows along.

    Args:
        opposite: [1, T], the tokens of the opposite prompt.
    """

    def __init__(self, model: Any, opposite: Tensor, request: ContrastRequest) -> None:
        self._model, self._omega = model, request.omega
        self._log_plausibility = math.log(request.plausibility)
        self._cache = cache_argument(model)
        self._arguments: dict[str, Any] = {self._cache: None, "use_cache": True}
        self._prompt: Tensor | None = opposite
        if model.config.is_encoder_decoder:
            self._arguments["encoder_outputs"] = model.get_encoder()(input_ids=opposite, return_dict=True)
            self._prompt = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The scores [1, V] of the next token after `input_ids` [1, T], what was written so far."""
        started = self._arguments[self._cache] is not None
        new = input_ids[:, -1:] if started or self._prompt is None else self._prompt
        key = "input_ids" if self._prompt is not None else "decoder_input_ids"
        output = self._model(**{key: new}, **self._arguments)
        self._arguments[self._cache] = output[self._cache]
        plausible = scores >= scores.max() + self._log_plausibility
        return torch.where(plausible, scores - self._omega * output.logits[:, -1].float(), -torch.inf)


@torch.inference_mode()
def naive_contrast(checkpoint: Checkpoint, requests: Iterable[ContrastRequest]) -> Iterator[Completion]:
    """Continues the prompts in turn, against their opposites where ω > 0."""
    model, ends = checkpoint.model, checkpoint.end_tokens
    detokenizer = Detokenizer(checkpoint.tokenizer, ends)
    for index, request in enumerate(requests):
        sampling = request.sampling
        prompt, opposite = (
            torch.tensor([checkpoint.tokens.prompt(text)], device=model.device)
            for text in (request.prompt, request.opposite)
        )
        torch.manual_seed(request.seed)
        sampled = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
        output = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=sampling.max_tokens,
            do_sample=sampling.temperature > 0,
            **(sampled if sampling.temperature > 0 else {}),
            pad_token_id=next(iter(ends), 0),
            stop_strings=[string for string in sampling.stop if string] or None,
            tokenizer=checkpoint.tokenizer,
            logits_processor=LogitsProcessorList([Contrast(model, opposite, request)] if request.omega > 0 else []),
        )
        ids = output[0, 1 if checkpoint.encoder_decoder else prompt.shape[1] :].tolist()
        written = ids[:-1] if ids[-1:] and ids[-1] in ends else ids
        text = detokenizer.text(written)
        before = cut(text, sampling.stop)
        yield Completion(
            index=index,
            text=text if before is None else before,
            tokens=len(written),
            finish="length" if before is None and written == ids else "stop",
        )
