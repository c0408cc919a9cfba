"""Which prefixes of a set of prompts are worth decoding once and sharing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True)
class PrefixNode:
    """Tokens shared by several prompts: `tokens` follow those of `parent` (an index into the plan, or None).

    `end` is the number of tokens from the start of the prompt to the end of this node.
    """

    parent: int | None
    tokens: tuple[int, ...]
    end: int


@dataclass(frozen=True)
class PrefixPlan:
    """`nodes`, parents first, and for each prompt the node it hangs on (None where it shares nothing)."""

    nodes: tuple[PrefixNode, ...]
    node_of: tuple[int | None, ...]

    def start(self, prompt: int) -> int:
        """How many tokens of that prompt its node already holds."""
        node = self.node_of[prompt]
        return 0 if node is None else self.nodes[node].end


def plan_prefixes(
    prompts: Sequence[Sequence[int]],
    *,
    max_nodes: int,
    max_tokens: int | None = None,
    min_tokens: int = 8,
    min_prompts: int = 3,
) -> PrefixPlan:
    """A radix tree over token lists, pruned to branches that at least `min_prompts` prompts share for `min_tokens`.

    At least one token of every prompt stays outside the plan, since its logits are needed. The plan has at most
    `max_nodes` nodes with at most `max_tokens` tokens in all; the ones nearest to the root come first.
    """
    nodes: list[PrefixNode] = []
    node_of: list[int | None] = [None] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda i: tuple(prompts[i]))
    # Breadth first, so that parents come first: (members, tokens already covered, parent)
    queue: list[tuple[list[int], int, int | None]] = [(order, 0, None)]
    for members, covered, parent in queue:
        if len(members) < min_prompts:
            continue
        first, last = prompts[members[0]], prompts[members[-1]]
        end, limit = covered, min(len(prompts[i]) for i in members) - 1
        while end < limit and first[end] == last[end]:
            end += 1
        fits = max_tokens is None or end - covered + sum(len(node.tokens) for node in nodes) <= max_tokens
        if end - covered >= min_tokens and len(nodes) < max_nodes and fits:
            nodes.append(PrefixNode(parent, tuple(first[covered:end]), end))
            covered, parent = end, len(nodes) - 1
            for i in members:
                node_of[i] = parent
        rest = [i for i in members if len(prompts[i]) > end + 1]
        branches = [list(group) for _, group in groupby(rest, key=lambda i: prompts[i][end])]
        if len(branches) > 1:
            queue += [(branch, covered, parent) for branch in branches]
    return PrefixPlan(tuple(nodes), tuple(node_of))
