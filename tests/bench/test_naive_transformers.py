"""What one writes by hand on transformers gives the engine's texts, so the benchmark compares like with like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from multicsr.backends.transformers_loading import load_checkpoint
from multicsr.bench.naive_transformers import measure_contrast, naive_contrast
from multicsr.bench.tasks import NaiveContrast
from multicsr.schemas import Sampling
from tests import tiny
from tests.backends.samples import by_index, contrasts, engine


@pytest.mark.parametrize("save", [tiny.save_llama, tiny.save_gpt2, tiny.save_t5, tiny.save_bart])
def test_by_hand_and_in_batches_the_same_is_written(save: Callable[[Path], Path], tmp_path: Path) -> None:
    folder, requests = save(tmp_path), contrasts()
    steps: list[None] = []
    task = NaiveContrast(library="transformers", model=str(folder), device="cpu", requests=tuple(requests))
    written = measure_contrast(task, lambda: steps.append(None))
    answers = by_index(engine(load_checkpoint(str(folder), "cpu")).contrast(requests))
    assert written.texts == tuple(answer.text for answer in answers)
    assert len(set(written.texts)) > 8
    assert written.speed.useful_tokens == sum(answer.tokens for answer in answers)
    assert written.speed.sentences == len(steps) == len(requests) // 2
    assert written.speed.seconds > 0


def test_samples_come_from_the_seed(tmp_path: Path) -> None:
    checkpoint = load_checkpoint(str(tiny.save_llama(tmp_path)), "cpu")
    sampling = Sampling(max_tokens=8, temperature=2.0, top_p=0.95, stop=())
    (request,) = contrasts()[3:4]
    seeded = [request.model_copy(update={"sampling": sampling, "seed": seed}) for seed in (1, 1, 2, 3)]
    first, again, *others = (answer.text for answer in naive_contrast(checkpoint, seeded))
    assert first == again
    assert {first} != set(others)
