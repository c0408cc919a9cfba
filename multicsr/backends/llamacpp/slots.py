"""What every sequence of a context holds, so that a prompt starts from the longest beginning that is already there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from multicsr.backends.llamacpp.native import MAX_ROWS, Context, Tokens
from multicsr.backends.llamacpp.sampling import Logits

PIECE = 48  # tokens of a sequence in one decode; from 64 on llama.cpp's attention takes a path that rounds otherwise
WORTH_COPYING = 4  # a copy of a sequence takes about as long as decoding a token or two
WORTH_LEADING = 16
WORTH_A_DECODE = 4  # rows of padding that take as long as another decode call


class Slots:
    """The sequences of a context.

    What a sequence holds stays there when it is given back; whoever needs a prompt next finds the instruction and the
    examples, or the whole prompt, in it or in another one. So a prefix that prompts share is decoded once.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self.length = np.zeros(context.sequences, np.int32)
        self._held = np.full((context.sequences, context.cells), -1, np.int32)
        self.can_cut = True  # whether a sequence can be shortened; recurrent models keep a state that cannot
        self.can_cut = self._probe()

    def _probe(self) -> bool:
        self.feed(0, np.zeros((1, 2), np.int32))
        can = self.context.cut(0, 1)
        self.context.cut(0, 0)
        self.length[0] = 0
        return can

    def match(self, tokens: Sequence[int] | Tokens) -> NDArray[np.int64]:
        """How many tokens of a prompt each sequence could serve, `[sequences]`; the last one is always left over."""
        limit = len(tokens) - 1
        equal = self._held[:, :limit] == np.asarray(tokens[:limit], np.int32)
        common = np.where(equal.all(axis=1), limit, equal.argmin(axis=1)) if limit else np.zeros(len(equal), np.int64)
        common = np.minimum(common, self.length)
        return common if self.can_cut else np.where(common == self.length, common, 0)

    def prepare(self, seq: int, tokens: Sequence[int]) -> int:
        """Gives the sequence the longest beginning of the prompt that any sequence holds; its length."""
        common = self.match(tokens)
        best = int(common.argmax())
        if common[best] - common[seq] >= WORTH_COPYING:
            self.copy(best, seq)
            common[seq] = common[best]
        self.cut(seq, int(common[seq]))
        return int(self.length[seq])

    def copy(self, source: int, target: int) -> None:
        self.context.copy(source, target)
        self._held[target], self.length[target] = self._held[source], self.length[source]

    def cut(self, seq: int, length: int) -> None:
        if length < self.length[seq]:
            self.context.cut(seq, length)
            self.length[seq] = length

    def feed(self, first: int, tokens: Tokens, counts: Tokens | None = None) -> Logits:
        """Decodes `tokens` `[S, T]` into the sequences from `first` on; logits `[S, V]` of each one's last token.

        Args:
            counts: `[S]`, how many of the T tokens count; the others fill up the block and are forgotten. All by
                default.
        """
        count, width = tokens.shape
        ends = np.full(count, width, np.int32) if counts is None else counts
        wanted = np.zeros((count, width), np.bool_)
        wanted[np.arange(count), ends - 1] = True
        return self.feed_wanted(first, tokens, ends, wanted)

    def feed_wanted(self, first: int, tokens: Tokens, counts: Tokens, wanted: NDArray[np.bool_]) -> Logits:
        """As `feed`, with the logits `[wanted.sum(), V]` of the tokens that `wanted` `[S, T]` names."""
        if tokens.size == 1 and self.can_cut:  # see Context.decode: no row may be the only one
            tokens, wanted = np.repeat(tokens, 2, axis=1), np.pad(wanted, ((0, 0), (0, 1)))
        count, width = tokens.shape
        starts = self.length[first : first + count].copy()
        logits = self.context.decode(first, tokens, starts, wanted)
        for n in range(count):
            seq, start = first + n, int(starts[n])
            self._held[seq, start : start + width] = tokens[n]
            self.length[seq] = start + width
            self.cut(seq, start + int(counts[n]))
        return logits

    def read(self, prompts: Mapping[int, Sequence[int]]) -> Iterator[tuple[int, Logits]]:
        """Makes each sequence hold its prompt; yields (sequence, logits `[V]` after the prompt), a view, as they come.

        What several prompts share and no sequence holds yet is decoded for one of them first.
        """
        leaders, followers = self._leaders(prompts)
        yield from self._read(leaders)
        if followers:
            yield from self._read(followers)

    def _leaders(self, prompts: Mapping[int, Sequence[int]]) -> tuple[dict[int, Tokens], dict[int, Tokens]]:
        leaders: dict[int, Tokens] = {}
        followers: dict[int, Tokens] = {}
        for seq, prompt in prompts.items():
            tokens = np.asarray(prompt, np.int32)
            missing = len(tokens) - int(self.match(tokens).max())
            shared = max((_common(tokens, other) for other in leaders.values()), default=0) if self.can_cut else 0
            leads = missing < WORTH_LEADING or shared - (len(tokens) - missing) < WORTH_LEADING
            (leaders if leads else followers)[seq] = tokens
        return leaders, followers

    def _read(self, prompts: Mapping[int, Tokens]) -> Iterator[tuple[int, Logits]]:
        rest = {seq: tokens[self.prepare(seq, list(tokens)) :] for seq, tokens in sorted(prompts.items())}
        while rest:
            for block in self._blocks({seq: len(tokens) for seq, tokens in rest.items()}):
                width = self._width([len(rest[seq]) for seq in block], block)
                tokens = np.zeros((len(block), width), np.int32)
                counts = np.array([min(width, len(rest[seq])) for seq in block], np.int32)
                for row, (seq, count) in enumerate(zip(block, counts, strict=True)):
                    tokens[row, :count] = rest[seq][:count]
                logits = self.feed(block[0], tokens, counts)
                for row, seq in enumerate(block):
                    rest[seq] = rest[seq][width:]
                    if not len(rest[seq]):
                        yield seq, logits[row]
            rest = {seq: tokens for seq, tokens in rest.items() if len(tokens)}

    def _blocks(self, lengths: Mapping[int, int]) -> Iterator[list[int]]:
        """Consecutive sequences that are computed together, about equally long and not more than fit into a decode."""
        block: list[int] = []
        widest = 0
        for seq, length in lengths.items():
            own = min(length, PIECE)
            rows = max(widest, own) * (len(block) + 1)
            filling = rows - (widest * len(block) + own)
            if block and (seq != block[-1] + 1 or rows > MAX_ROWS or filling > WORTH_A_DECODE):
                yield block
                block, widest = [], 0
            block.append(seq)
            widest = max(widest, own)
        if block:
            yield block

    def _width(self, lengths: Sequence[int], block: Sequence[int]) -> int:
        """How many tokens of each sequence of a block are decoded: the longest's, or no more than the shortest's."""
        if not self.can_cut:
            return min(*lengths, PIECE)
        room = self.context.cells - int(self.length[block[0] : block[-1] + 1].max())
        return max(1, min(max(lengths), PIECE, room))


def _common(a: Tokens, b: Tokens) -> int:
    limit = min(len(a), len(b))
    differ = np.flatnonzero(a[:limit] != b[:limit])
    return int(differ[0]) if len(differ) else limit
