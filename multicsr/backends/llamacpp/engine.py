"""Batched contrastive decoding and scoring on llama.cpp (design 1 and 4).

All streams of a wave of requests advance together, one `llama_decode` a step. A request has a main stream and, with
ω > 0, a stream of the opposite prompt; both see the same output. What prompts share is decoded once and copied.
Generation keeps a buffer per sequence, so that attention costs what the sequence is long; the price is that llama.cpp
computes only consecutive sequences together, so finished ones are replaced by the last ones (a copy) at once.
Scoring packs many prompts with all their continuations into one shared buffer and forgets them after each pack.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal

import numpy as np

from multicsr.backends.llamacpp.native import CELLS_MULTIPLE, Context, Model, Row
from multicsr.backends.llamacpp.prefixes import PrefixPlan, plan_prefixes
from multicsr.backends.llamacpp.sampling import Logits, choose, log_probabilities
from multicsr.schemas import Completion, ContrastRequest, GenerateRequest, RequestFailure, ScoreRequest, TokenLogProbs

MAX_SEQUENCES = 256  # llama.cpp's LLAMA_MAX_SEQ
BATCH = 2048
RESERVED = 8  # sequences kept for shared prefixes
PACK = 160  # tokens scored in one llama_decode; more share a longer attention, measured half as fast at 512
SCORE_CELLS = 8192
GGML_F16, GGML_F32 = 1, 0
ELEMENT_BYTES = {GGML_F16: 2, GGML_F32: 4}


@dataclass
class Lane:
    """A request being decoded: its sequences, positions and what it wrote so far."""

    index: int
    request: GenerateRequest
    prompts: tuple[int, ...]  # main, then opposite if there is one; indices into the wave's distinct prompts
    seqs: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)  # where its logits are, one for each stream
    tokens: int = 0
    written: bytearray = field(default_factory=bytearray)
    rng: np.random.Generator | None = None


class Engine:
    """Decodes and scores on one loaded model. Not thread-safe.

    Args:
        kv_budget: bytes that key-value memory may take; it bounds how many sequences live at once.
    """

    def __init__(self, model: Model, *, threads: int, kv_budget: int, kv_type: int = GGML_F16) -> None:
        self._model, self._threads = model, threads
        self._kv_budget, self._kv_type = kv_budget, kv_type
        self._context: Context | None = None

    # --- completions -------------------------------------------------------------------------------------------------

    def complete(self, requests: Sequence[GenerateRequest]) -> Iterator[Completion | RequestFailure]:
        """Continues every request's prompt, against its opposite where it is a `ContrastRequest` with ω > 0."""
        texts = [_prompts(request) for request in requests]
        tokens = {text: self._model.tokenize(text) for pair in texts for text in pair}
        longest, queue = 0, []
        for i, (request, pair) in enumerate(zip(requests, texts, strict=True)):
            need = max(len(tokens[text]) for text in pair) + request.sampling.max_tokens
            if problem := self._too_long(need) or ("" if all(tokens[text] for text in pair) else "an empty prompt"):
                yield RequestFailure(index=i, reason=problem)
                continue
            longest = max(longest, need)
            queue.append(i)
        if not queue:
            return
        context = self._generation_context(longest)
        wave: list[int] = []
        used = 0
        for i in queue:
            if used + len(texts[i]) > context.sequences - RESERVED:
                yield from self._wave(context, requests, wave, texts, tokens)
                wave, used = [], 0
            wave.append(i)
            used += len(texts[i])
        yield from self._wave(context, requests, wave, texts, tokens)

    def _too_long(self, need: int) -> str:
        limit = self._model.trained_context
        return f"prompt and answer need {need} tokens, the model's context has {limit}" if need > limit else ""

    def _generation_context(self, longest: int) -> Context:
        cells = -(-longest // CELLS_MULTIPLE) * CELLS_MULTIPLE
        fits = self._kv_budget // (cells * self._model.cell_bytes(ELEMENT_BYTES[self._kv_type]))
        sequences = int(min(MAX_SEQUENCES, max(fits, RESERVED + 4)))
        return self._use_context(cells=cells, sequences=sequences, unified=False)

    def _use_context(self, *, cells: int, sequences: int, unified: bool) -> Context:
        have = self._context
        if have and (have.cells, have.sequences, have.unified) == (cells, sequences, unified):
            have.clear()
            return have
        if have:
            have.close()
        self._context = Context(
            self._model,
            cells=cells,
            sequences=sequences,
            unified=unified,
            batch=BATCH,
            threads=self._threads,
            kv_type=self._kv_type,
        )
        return self._context

    def _wave(
        self,
        context: Context,
        requests: Sequence[GenerateRequest],
        wave: Sequence[int],
        texts: Sequence[tuple[str, ...]],
        tokens: dict[str, list[int]],
    ) -> Iterator[Completion | RequestFailure]:
        """Decodes some requests from their prompts to their ends, all together."""
        context.clear()
        distinct = list(dict.fromkeys(text for i in wave for text in texts[i]))
        number = {text: n for n, text in enumerate(distinct)}
        lanes = [Lane(i, requests[i], tuple(number[text] for text in texts[i])) for i in wave]
        logits = self._prefill(context, [tokens[text] for text in distinct], lanes)
        live = lanes
        while live:
            going: list[tuple[Lane, int]] = []
            for lane in live:
                token = self._next_token(lane, logits)
                done = (
                    RequestFailure(index=lane.index, reason="the model's logits are not finite")
                    if token is None
                    else self._write(lane, token)
                )
                if done is None and token is not None:
                    going.append((lane, token))
                elif done is not None:
                    yield done
            live = [lane for lane, _ in going]
            if live:
                _compact(context, live)
                logits = _step(context, going)

    def _prefill(self, context: Context, prompts: list[list[int]], lanes: Sequence[Lane]) -> Logits:
        """Decodes every distinct prompt once and gives each stream its own copy; logits `[prompts, V]`."""
        plan = plan_prefixes(prompts, max_nodes=RESERVED)
        bases = self._decode_prefixes(context, plan, first=context.sequences - 1)
        # Sequences of prompts of equal length are consecutive, so that llama.cpp computes them together.
        order = sorted(range(len(prompts)), key=lambda p: (len(prompts[p]) - plan.start(p), p))
        owner = {p: seq for seq, p in enumerate(order)}
        logits = np.empty((len(prompts), self._model.vocab_size), np.float32)
        for size, same in groupby(order, key=lambda p: len(prompts[p]) - plan.start(p)):
            members = list(same)
            at_once = max(1, BATCH // 4 // size)
            for begin in range(0, len(members), at_once):
                group = members[begin : begin + at_once]
                for p in group:
                    node = plan.node_of[p]
                    if node is not None:
                        context.copy(bases[node], owner[p])
                logits[group] = _decode_long(context, [(owner[p], plan.start(p), prompts[p]) for p in group])
        free = len(prompts)
        taken: set[int] = set()
        for lane in lanes:
            for p in lane.prompts:
                if p in taken:
                    context.copy(owner[p], free)
                    lane.seqs.append(free)
                    free += 1
                else:
                    taken.add(p)
                    lane.seqs.append(owner[p])
                lane.positions.append(len(prompts[p]))
            lane.rows = list(lane.prompts)
            if lane.request.sampling.temperature > 0:
                lane.rng = np.random.default_rng(lane.request.seed)
        for seq in bases:
            context.remove(seq)
        return logits

    def _decode_prefixes(self, context: Context, plan: PrefixPlan, *, first: int) -> list[int]:
        """Each node of the plan in a sequence of its own, counted down from `first`."""
        bases: list[int] = []
        for n, node in enumerate(plan.nodes):
            seq = first - n
            if node.parent is not None:
                context.copy(bases[node.parent], seq)
            start = node.end - len(node.tokens)
            for begin in range(0, len(node.tokens), context.batch):
                part = node.tokens[begin : begin + context.batch]
                context.decode([Row(t, start + begin + k, (seq,), False) for k, t in enumerate(part)])
            bases.append(seq)
        return bases

    def _next_token(self, lane: Lane, logits: Logits) -> int | None:
        request, sampling = lane.request, lane.request.sampling
        main = logits[lane.rows[0]]
        if not np.isfinite(main.max()):
            return None
        contrast = request if isinstance(request, ContrastRequest) else None
        return choose(
            main,
            logits[lane.rows[1]] if len(lane.rows) > 1 else None,
            omega=contrast.omega if contrast else 0.0,
            log_plausibility=float(np.log(contrast.plausibility)) if contrast else -np.inf,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            rng=lane.rng,
        )

    def _write(self, lane: Lane, token: int) -> Completion | None:
        """Appends a token to what the lane wrote; the completion, if that ends it."""
        sampling = lane.request.sampling
        if self._model.ends(token):
            return _completion(lane, len(lane.written), "stop")
        piece = self._model.piece(token)
        lane.written += piece
        lane.tokens += 1
        for stop in sampling.stop:
            mark = stop.encode("utf-8")
            found = lane.written.find(mark, max(0, len(lane.written) - len(piece) - len(mark) + 1))
            if found >= 0:
                return _completion(lane, found, "stop")
        if lane.tokens >= sampling.max_tokens:
            return _completion(lane, len(lane.written), "length")
        return None

    # --- scores ------------------------------------------------------------------------------------------------------

    def score(self, requests: Sequence[ScoreRequest]) -> Iterator[TokenLogProbs | RequestFailure]:
        """Log-probabilities of every continuation's tokens given its prompt."""
        items: list[_ScoreItem] = []
        for i, request in enumerate(requests):
            item = self._score_item(i, request)
            need = len(item.prompt) + max((len(c) for c in item.continuations), default=0)
            size = len(item.prompt) + sum(len(c) for c in item.continuations)
            problem = self._too_long(need) or ("" if item.prompt else "an empty prompt")
            if not problem and (size > BATCH or len(item.continuations) > MAX_SEQUENCES // 2):
                problem = f"{len(item.continuations)} continuations of {size} tokens are more than one request may have"
            if problem:
                yield RequestFailure(index=i, reason=problem)
            else:
                items.append(item)
        if not items:
            return
        context = self._use_context(cells=SCORE_CELLS, sequences=MAX_SEQUENCES, unified=True)
        plan = plan_prefixes([item.prompt for item in items], max_nodes=RESERVED, max_tokens=SCORE_CELLS - BATCH)
        bases = self._decode_prefixes(context, plan, first=MAX_SEQUENCES - 1)
        pack: list[int] = []
        size, seqs = 0, 0
        for n, item in enumerate(items):
            more = item.tokens_after(plan.start(n))
            lanes = max(1, len(item.continuations))
            if pack and (size + more > PACK or seqs + lanes > MAX_SEQUENCES - len(bases)):
                yield from _score_pack(context, items, pack, plan, bases)
                pack, size, seqs = [], 0, 0
            pack.append(n)
            size, seqs = size + more, seqs + lanes
        yield from _score_pack(context, items, pack, plan, bases)

    def _score_item(self, index: int, request: ScoreRequest) -> _ScoreItem:
        # Tokenised together, so that a token which spans the border is the one that the model would write.
        prompt = self._model.tokenize(request.prompt)
        wholes = [self._model.tokenize(request.prompt + text) for text in request.continuations]
        border = min([_common(prompt, whole) for whole in wholes], default=len(prompt))
        return _ScoreItem(index, prompt[:border], [whole[border:] for whole in wholes])

    def close(self) -> None:
        if self._context:
            self._context.close()
        self._model.close()


@dataclass(frozen=True)
class _ScoreItem:
    index: int
    prompt: list[int]
    continuations: list[list[int]]

    def tokens_after(self, start: int) -> int:
        return len(self.prompt) - start + sum(max(len(c) - 1, 0) for c in self.continuations)


def _prompts(request: GenerateRequest) -> tuple[str, ...]:
    if isinstance(request, ContrastRequest) and request.omega > 0:
        return request.prompt, request.opposite
    return (request.prompt,)


def _completion(lane: Lane, length: int, finish: Literal["stop", "length"]) -> Completion:
    text = bytes(lane.written[:length]).decode("utf-8", "replace")
    return Completion(index=lane.index, text=text, tokens=lane.tokens, finish=finish)


def _compact(context: Context, live: Sequence[Lane]) -> None:
    """Moves the last sequences into the holes that finished lanes left, so that 0 … n−1 are in use."""
    held = {seq: (lane, k) for lane in live for k, seq in enumerate(lane.seqs)}
    count = len(held)
    holes = [seq for seq in range(count) if seq not in held]
    for seq, hole in zip(sorted(seq for seq in held if seq >= count), holes, strict=True):
        lane, k = held[seq]
        context.copy(seq, hole)
        lane.seqs[k] = hole


def _step(context: Context, going: Sequence[tuple[Lane, int]]) -> Logits:
    """One decode of every live stream, in the order of the sequences."""
    rows: list[tuple[int, Lane, int, int]] = [
        (seq, lane, k, token) for lane, token in going for k, seq in enumerate(lane.seqs)
    ]
    rows.sort(key=lambda row: row[0])
    batch = []
    for at, (seq, lane, k, token) in enumerate(rows):
        batch.append(Row(token, lane.positions[k], (seq,), True))
        lane.positions[k] += 1
        lane.rows[k] = at
    return context.decode(batch)


def _decode_long(context: Context, prompts: Sequence[tuple[int, int, list[int]]]) -> Logits:
    """Decodes equally long rests of prompts (sequence, start, tokens); logits of their last tokens `[prompts, V]`."""
    rows = [
        Row(tokens[at], at, (seq,), at == len(tokens) - 1)
        for seq, start, tokens in prompts
        for at in range(start, len(tokens))
    ]
    for begin in range(0, len(rows) - context.batch, context.batch):
        context.decode(rows[begin : begin + context.batch])
    tail = len(rows) % context.batch or context.batch
    return context.decode(rows[-tail:])


def _score_pack(
    context: Context, items: Sequence[_ScoreItem], pack: Sequence[int], plan: PrefixPlan, bases: Sequence[int]
) -> Iterator[TokenLogProbs]:
    """Scores some prompts with all their continuations in one decode, then forgets them."""
    rows: list[Row] = []
    spans: list[list[list[int]]] = []  # for each item and continuation: the wanted row that predicts each token
    free = outputs = 0
    for n in pack:
        item, start = items[n], plan.start(n)
        seqs = tuple(range(free, free + max(1, len(item.continuations))))
        free += len(seqs)
        node = plan.node_of[n]
        if node is not None:
            for seq in seqs:
                context.copy(bases[node], seq)
        last = len(item.prompt) - 1
        rows += [Row(item.prompt[at], at, seqs, at == last) for at in range(start, last + 1)]
        after_prompt = outputs
        outputs += 1
        spans.append([])
        for seq, continuation in zip(seqs, item.continuations, strict=False):
            rows += [Row(token, last + 1 + at, (seq,), True) for at, token in enumerate(continuation[:-1])]
            more = max(len(continuation) - 1, 0)
            spans[-1].append([after_prompt, *range(outputs, outputs + more)][: len(continuation)])
            outputs += more
    logits = context.decode(rows)
    for n, item_spans in zip(pack, spans, strict=True):
        item = items[n]
        yield TokenLogProbs(
            index=item.index,
            log_probs=tuple(
                tuple(log_probabilities(logits[span], np.asarray(tokens, np.int64)).tolist())
                for span, tokens in zip(item_spans, item.continuations, strict=True)
            ),
        )
    for seq in range(free):
        context.remove(seq)


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    for n, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return n
    return min(len(a), len(b))
