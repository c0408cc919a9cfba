from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from multicsr.backends.llamacpp.prefixes import plan_prefixes

PROMPTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=12)


@given(prompts=PROMPTS, max_nodes=st.integers(0, 5), min_tokens=st.integers(1, 4), min_prompts=st.integers(2, 4))
def test_a_node_and_its_parents_spell_the_beginning_of_each_prompt_on_it(
    prompts: list[list[int]], max_nodes: int, min_tokens: int, min_prompts: int
) -> None:
    plan = plan_prefixes(prompts, max_nodes=max_nodes, min_tokens=min_tokens, min_prompts=min_prompts)
    assert len(plan.nodes) <= max_nodes
    for n, prompt in enumerate(prompts):
        spelled: list[int] = []
        at = plan.node_of[n]
        while at is not None:
            node = plan.nodes[at]
            spelled = [*node.tokens, *spelled]
            assert node.parent is None or node.parent < at
            at = node.parent
        assert prompt[: plan.start(n)] == spelled
        assert plan.start(n) < len(prompt), "the last token's logits are needed, so it is not shared"


@given(prompts=PROMPTS)
def test_every_node_is_worth_its_place(prompts: list[list[int]]) -> None:
    plan = plan_prefixes(prompts, max_nodes=9, min_tokens=2, min_prompts=2)
    for n, node in enumerate(plan.nodes):
        assert len(node.tokens) >= 2
        below = {n}
        for m, other in enumerate(plan.nodes):
            if other.parent in below:
                below.add(m)
        assert sum(at in below for at in plan.node_of) >= 2


def test_two_instructions_share_their_own_prefixes() -> None:
    first, second = [1, 2, 3, 4, 5, 6, 7, 8, 9], [11, 12, 13, 14, 15, 16, 17, 18]
    prompts = [[*first, 100 + n] for n in range(3)] + [[*second, 200 + n] for n in range(3)]
    plan = plan_prefixes(prompts, max_nodes=4)
    assert sorted(node.tokens for node in plan.nodes) == sorted([tuple(first), tuple(second)])


def test_more_tokens_than_allowed_are_not_shared() -> None:
    prompts = [[*range(20), 100 + n] for n in range(4)]
    assert plan_prefixes(prompts, max_nodes=4, max_tokens=19).nodes == ()
    assert len(plan_prefixes(prompts, max_nodes=4, max_tokens=20).nodes) == 1
