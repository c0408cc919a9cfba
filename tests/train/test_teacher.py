from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from multicsr.config import TrainConfig
from multicsr.errors import ModelError
from multicsr.train import teacher
from multicsr.train.data import TripletTable, tabulate
from multicsr.train.encoder import load_encoder
from multicsr.train.loop import StepMetrics, train
from multicsr.train.teacher import teacher_embeddings
from tests.train import kinds

Triplets = list[tuple[str, str, str]]


class Asked(NamedTuple):
    """What came of a question to the teacher.

    Attributes:
        vectors: its embeddings.
        texts: how many it read for them.
        notes: what was said about the cache.
    """

    vectors: Tensor
    texts: int
    notes: list[str]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MULTICSR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "teacher"


@pytest.fixture
def table(few: Triplets) -> TripletTable:
    return tabulate(few)


@pytest.fixture
def ask(
    cache: Path, table: TripletTable, tiny_config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Asked]:
    read = [0]
    embed = teacher.embed

    def counting(model: object, texts: tuple[str, ...], **options: object) -> object:
        read[0] += len(texts)
        return embed(model, texts, **options)

    monkeypatch.setattr(teacher, "embed", counting)

    def asking(of: TripletTable = table, **change: object) -> Asked:
        read[0], notes = 0, list[str]()
        vectors = teacher_embeddings(of, config=tiny_config.model_copy(update=change), on_note=notes.append)
        return Asked(vectors, read[0], notes)

    return asking


def test_it_is_asked_once(ask: Callable[..., Asked], table: TripletTable, cache: Path) -> None:
    first, again = ask(), ask()
    assert (first.texts, again.texts) == (len(table.texts), 0)
    assert torch.equal(first.vectors, again.vectors)
    assert (first.vectors.shape, first.vectors.dtype) == ((len(table.texts), 32), torch.float32)
    torch.testing.assert_close(first.vectors.norm(dim=1), torch.ones(len(table.texts)))
    assert [path.suffix for path in cache.iterdir()] == [".safetensors"]
    assert first.notes == again.notes == []


def test_what_does_not_matter_to_it_does_not_ask_again(
    ask: Callable[..., Asked], tiny_bert: Path, tmp_path: Path
) -> None:
    """Where it lies, whom it teaches, and how its answers are used."""
    first = ask()
    moved = shutil.copytree(tiny_bert, tmp_path / "moved")
    other = str(kinds.save_llama(tmp_path / "llama"))
    for change in (
        {"encoder": str(moved)},
        {"encoder": other, "teacher": str(tiny_bert)},
        {"phi": 0.5, "mask": "relative", "temperature": 1.0, "batch_size": 2, "head": "mlp"},
    ):
        found = ask(**change)
        assert found.texts == 0, change
        assert torch.equal(found.vectors, first.vectors)


def test_what_matters_to_it_asks_again(
    ask: Callable[..., Asked], few: Triplets, tiny_bert: Path, tmp_path: Path
) -> None:
    ask()
    model = load_encoder(str(tiny_bert), device="cpu")
    with torch.no_grad():
        next(model.parameters())[5, 5] += 0.01
    shutil.copytree(tiny_bert, tmp_path / "other")
    model.transformers_model.save_pretrained(tmp_path / "other")
    for change in ({"max_tokens": 5}, {"pooling": "cls"}, {"encoder": str(tmp_path / "other")}):
        assert ask(**change).texts > 0, change
    assert ask(tabulate(few[::-1])).texts > 0
    assert ask(tabulate(few[1:])).texts > 0


@pytest.mark.parametrize("damage", ["garbage", "empty", "truncated", "flipped", "another's"])
def test_a_damaged_file_is_computed_again_and_said(ask: Callable[..., Asked], cache: Path, damage: str) -> None:
    first = ask()
    (path,) = cache.iterdir()
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    damaged = {"garbage": b"not safetensors", "empty": b"", "truncated": content[: len(content) // 2]}
    if damage == "another's":
        ask(max_tokens=5)
        (other,) = set(cache.iterdir()) - {path}
        shutil.copy(other, path)
    else:
        path.write_bytes(damaged.get(damage, content))
    again = ask()
    assert again.texts > 0
    assert torch.equal(again.vectors, first.vectors)
    assert len(again.notes) == 1
    assert str(path) in again.notes[0]
    assert "computed again" in again.notes[0]
    assert ask().notes == [], "it is whole again"


def test_what_cannot_be_kept_is_said_and_no_more(
    ask: Callable[..., Asked], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.parent.mkdir()
    cache.write_text("a file where the folder should be")
    assert ["cannot be kept" in note for note in ask().notes] == [True]
    cache.unlink()
    monkeypatch.setattr(teacher, "SPARE_BYTES", 1 << 60)
    assert ["too little room" in note for note in ask().notes] == [True]
    assert list(cache.iterdir()) == []


def test_its_progress_is_told_whether_kept_or_not(cache: Path, table: TripletTable, tiny_config: TrainConfig) -> None:
    seen: list[tuple[int, int]] = []
    for _ in range(2):
        teacher_embeddings(table, config=tiny_config, on_progress=lambda done, total: seen.append((done, total)))
        assert seen[-1] == (len(table.texts), len(table.texts))
        seen.clear()


def test_embeddings_that_are_not_finite_are_refused(
    ask: Callable[..., Asked], cache: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    """Else the mask would take every pair for too similar, or none."""
    model = load_encoder(str(tiny_bert), device="cpu")
    with torch.no_grad():
        next(model.parameters())[:] = torch.nan
    shutil.copytree(tiny_bert, tmp_path / "broken")
    model.transformers_model.save_pretrained(tmp_path / "broken")
    with pytest.raises(ModelError, match=r"^train\.teacher = '.*broken': its embeddings are not finite"):
        ask(teacher=str(tmp_path / "broken"))
    assert not cache.exists()


@pytest.mark.parametrize("save", [kinds.save_llama, kinds.save_gguf])
def test_it_may_be_of_another_kind_with_its_own_tokenizer(
    few: Triplets, tiny_config: TrainConfig, tmp_path: Path, save: Callable[[Path], Path]
) -> None:
    (tmp_path / "teacher").mkdir()
    name = str(save(tmp_path / "teacher"))
    model = load_encoder(name, max_tokens=16, device="cpu")
    config = tiny_config.model_copy(update={"teacher": name, "mask": "relative", "epochs": 1})
    steps: list[StepMetrics] = []
    assert train(few, config=config, seed=0, folder=tmp_path / "run", on_step=steps.append) is not None
    table = tabulate(few)
    vectors = teacher_embeddings(table, config=config)
    expected = torch.from_numpy(model.encode(list(table.texts), normalize_embeddings=True))
    torch.testing.assert_close(vectors, expected, atol=1e-5, rtol=1e-4)
    assert steps[0].mask_rate > 0
