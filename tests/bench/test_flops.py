"""What is counted by formula is what the products do, where nothing is padded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from multicsr.bench.flops import FlopCount, forward_flops, product_speed
from tests import tiny

ROWS, TOKENS = 5, 11


@pytest.fixture(params=["bert", "llama"])
def encoder_folder(request: pytest.FixtureRequest, tiny_bert: Path, tmp_path: Path) -> Path:
    return tiny_bert if request.param == "bert" else tiny.save_llama(tmp_path)


def count(encoder: torch.nn.Module, mask: torch.Tensor) -> int:
    with FlopCount() as counted:
        encoder(input_ids=torch.ones_like(mask), attention_mask=mask)
    return counted.flops


def test_the_formula_gives_what_a_forward_pass_does(encoder_folder: Path) -> None:
    encoder = AutoModel.from_pretrained(encoder_folder).train()
    pooler = 2 * ROWS * encoder.config.hidden_size**2 if hasattr(encoder, "pooler") else 0
    needed = forward_flops(encoder, torch.full((ROWS,), TOKENS)).sum()
    assert count(encoder, torch.ones(ROWS, TOKENS, dtype=torch.int64)) == needed + pooler


def test_padding_is_counted_where_it_is_computed(encoder_folder: Path) -> None:
    encoder = AutoModel.from_pretrained(encoder_folder).train()
    mask = torch.ones(ROWS, TOKENS, dtype=torch.int64)
    mask[1:, 4:] = 0
    assert count(encoder, mask) > 1.5 * forward_flops(encoder, mask.sum(1)).sum()


def test_a_matrix_product_is_timed_as_often_as_it_is_told_of() -> None:
    steps: list[int] = []
    assert 1e8 < product_speed(torch.device("cpu"), torch.float32, lambda: steps.append(1)) < 1e14
    assert len(steps) == 8
