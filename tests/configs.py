"""Any configuration, for properties that hold for all of them."""

from __future__ import annotations

from hypothesis import strategies as st

from multicsr.config import (
    DEFAULT_FILTERS,
    Config,
    EvaluateConfig,
    GenerateConfig,
    InputConfig,
    JudgeConfig,
    LlamaCppConfig,
    TrainConfig,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
counts = st.integers(1, 10**6)
shares = st.floats(0, 1, exclude_min=True)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
options = st.dictionaries(texts, plain, max_size=3)
configs = st.builds(
    Config,
    seed=st.integers(0),
    rounds=counts,
    plugins=st.lists(texts, max_size=3).map(tuple),
    prompts=st.none() | texts,
    input=st.builds(InputConfig, source=texts, column=st.none() | texts, limit=st.none() | counts),
    generate=st.builds(GenerateConfig, llm=texts, omega=st.floats(0, 1e300), plausibility=shares, top_p=shares),
    llamacpp=st.builds(
        LlamaCppConfig,
        weights=st.sampled_from(["auto", "file", "f32", "f16", "bf16", "q8_0"]),
        gpu_layers=st.integers(-1),
        memory_mb=st.none() | st.integers(64),
    ),
    judge=st.builds(JudgeConfig, name=texts, options=options, llm=st.none() | texts),
    filters=st.dictionaries(st.sampled_from([*DEFAULT_FILTERS]) | texts, st.none() | options, max_size=8),
    train=st.builds(
        TrainConfig,
        phi=st.floats(-1, 1),
        learning_rate=st.floats(0, 1, exclude_min=True),
        pooling=st.sampled_from(["auto", "mean", "cls"]),
        seeds=st.lists(st.integers(), min_size=1, max_size=3, unique=True).map(tuple),
        dev=st.none() | texts,
    ),
    evaluate=st.builds(EvaluateConfig, sts_dir=st.none() | texts),
)
