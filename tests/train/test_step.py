from __future__ import annotations

import json
import multiprocessing
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from accelerate import Accelerator
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss
from torch import Tensor, nn
from torch.optim import SGD, AdamW
from transformers import BertConfig, BertModel

from multicsr.config import TrainConfig
from multicsr.errors import StageError
from multicsr.memory import is_out_of_memory
from multicsr.train import passes
from multicsr.train.data import NO_TEXT, TripletTable, tabulate, tokenize
from multicsr.train.encoder import load_encoder, quiet
from multicsr.train.objective import batch_loss, batch_masks
from multicsr.train.step import (
    NonFiniteError,
    Stepper,
    StepResult,
    learning_rate,
    make_optimizer,
)
from tests.train import stepping

Triplets = list[tuple[str, str, str]]


@pytest.fixture
def model(tiny_bert: Path) -> SentenceTransformer:
    return load_encoder(str(tiny_bert), device="cpu")


@pytest.fixture(scope="session")
def table(few: Triplets) -> TripletTable:
    return tabulate(few[:16])


def make(
    model: SentenceTransformer, table: TripletTable, config: TrainConfig, teacher: Tensor | None = None
) -> Stepper:
    """A stepper whose steps subtract the gradient, unclipped, from the weights."""
    config = config.model_copy(update={"max_grad_norm": 1e9})
    optimizer = SGD(model.parameters(), lr=1.0)
    tokens = tokenize(model, table.texts)
    return Stepper(model, optimizer, tokens, config, accelerator=Accelerator(cpu=True), teacher=teacher)


def judged(table: TripletTable) -> tuple[Tensor, Tensor]:
    """An order of the pairs, and that every third triplet is not contrasted."""
    count = len(table.rows)
    order = torch.linspace(0, 5, 2 * count).reshape(-1, 2)
    return order.masked_fill(table.rows[:, 1:] == NO_TEXT, torch.nan), torch.arange(count) % 3 > 0


def step_and_gradient(
    model: SentenceTransformer, table: TripletTable, config: TrainConfig, teacher: Tensor | None = None
) -> tuple[StepResult, dict[str, Tensor]]:
    """A step from the model's weights, which stay, and what it subtracts from them."""
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    order, contrasted = judged(table) if config.graded_weight else (None, None)
    result = make(model, table, config, teacher).step(table.rows, order, contrasted, seed=1, learning_rate=1.0)
    with torch.no_grad():
        gradients = {name: before[name] - weight for name, weight in model.named_parameters()}
        for name, weight in model.named_parameters():
            weight.copy_(before[name])
    model.zero_grad()
    return result, gradients


@given(total=st.integers(1, 300), warmup=st.floats(0, 1))
@settings(deadline=None)
def test_the_learning_rate_rises_to_its_peak_and_falls(total: int, warmup: float) -> None:
    config = TrainConfig(learning_rate=3e-5, warmup=warmup)
    rates = [learning_rate(step, total, config) for step in range(1, total + 1)]
    peak = rates.index(max(rates))
    assert max(rates) == pytest.approx(3e-5)
    assert min(rates) > 0
    assert peak + 1 == max(1, round(warmup * total))
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_weight_decay_spares_biases_and_normalisation(model: SentenceTransformer, tiny_config: TrainConfig) -> None:
    head = nn.Linear(32, 32)
    optimizer = make_optimizer(model, tiny_config.model_copy(update={"weight_decay": 0.1}), head)
    decayed = {id(weight) for group in optimizer.param_groups if group["weight_decay"] for weight in group["params"]}
    weights = {**dict(model.named_parameters()), **dict(head.named_parameters(prefix="head"))}
    names = {name: id(weight) in decayed for name, weight in weights.items()}
    assert all(decays == (not name.endswith("bias") and "LayerNorm" not in name) for name, decays in names.items())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(names)
    assert isinstance(optimizer, AdamW)
    assert optimizer.defaults["fused"]


def test_a_gradient_is_clipped_to_its_limit(
    model: SentenceTransformer, table: TripletTable, tiny_config: TrainConfig
) -> None:
    def change(limit: float) -> tuple[float, Tensor]:
        before = [weight.detach().clone() for weight in model.parameters()]
        config = tiny_config.model_copy(update={"max_grad_norm": limit})
        tokens, optimizer = tokenize(model, table.texts), SGD(model.parameters(), lr=1.0)
        stepper = Stepper(model, optimizer, tokens, config, accelerator=Accelerator(cpu=True))
        norm = stepper.step(table.rows, seed=1, learning_rate=1.0).grad_norm
        with torch.no_grad():
            moved = torch.cat([(old - new).flatten() for old, new in zip(before, model.parameters(), strict=True)])
            for old, new in zip(before, model.parameters(), strict=True):
                new.copy_(old)
        return norm, moved

    norm, whole = change(1e9)
    again, clipped = change(norm / 4)
    assert norm == again == pytest.approx(whole.norm().item(), rel=1e-4)
    torch.testing.assert_close(clipped, whole / 4, atol=1e-6, rtol=1e-3)


def test_a_step_uses_its_seed_and_its_learning_rate(
    model: SentenceTransformer, table: TripletTable, tiny_config: TrainConfig
) -> None:
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def step(seed: int, rate: float) -> tuple[float, Tensor]:
        model.load_state_dict(start)
        loss = make(model.eval(), table, tiny_config).step(table.rows, seed=seed, learning_rate=rate).loss
        weight = model.transformers_model.embeddings.LayerNorm.bias.detach()
        return loss, weight - start["0.model.embeddings.LayerNorm.bias"]

    (one, change), (again, half), (other, _) = step(1, 1.0), step(1, 0.5), step(2, 1.0)
    assert one == again != other
    torch.testing.assert_close(half, change / 2)


@pytest.mark.parametrize("without", [0, 5])
@pytest.mark.parametrize("graded", [0.0, 0.5])
@pytest.mark.parametrize("micro_batch", [None, 1, 5, 8])
def test_gradients_are_the_full_batchs(
    model: SentenceTransformer,
    table: TripletTable,
    tiny_config: TrainConfig,
    micro_batch: int | None,
    graded: float,
    without: int,
) -> None:
    """Against all texts in one padded batch through plain autograd; some triplets may have no hard negative."""
    rows = table.rows.clone()
    rows[:without, 2] = NO_TEXT
    table = TripletTable(table.texts, rows)
    config = tiny_config.model_copy(update={"phi": 0.9, "micro_batch": micro_batch, "graded_weight": graded})
    teacher = torch.randn(len(table.texts), 3, generator=torch.Generator().manual_seed(0)).abs()
    stepping.still(model)
    result, gradients = step_and_gradient(model, table, config, teacher)

    texts = [table.texts[number] for number in table.rows.flatten().tolist()]  # any, where there is none
    embeddings = model(model.preprocess(texts))["sentence_embedding"].unflatten(0, (-1, 3))
    order, contrasted = judged(table) if graded else (None, torch.ones(len(table.rows)).bool())
    chosen = contrasted.nonzero().flatten()
    masks = batch_masks(table.rows[chosen], teacher, config, torch.device("cpu"))
    loss = batch_loss(embeddings, masks, chosen, order, config)
    loss.backward()

    assert 0 < result.mask_rate == pytest.approx(masks.rate.item())
    assert result.masked == masks.examples() != []
    assert result.micro_batch == micro_batch
    assert result.loss == pytest.approx(loss.item(), rel=1e-9)
    squares = 0.0
    for name, weight in model.named_parameters():
        expected = torch.zeros_like(weight) if weight.grad is None else weight.grad
        torch.testing.assert_close(gradients[name], expected, atol=1e-9, rtol=1e-6)
        squares += expected.square().sum().item()
    assert result.grad_norm == pytest.approx(squares**0.5)


@pytest.mark.parametrize("micro_batch", [3, 10])
def test_gradient_caching_repeats_its_dropout(
    model: SentenceTransformer,
    table: TripletTable,
    tiny_config: TrainConfig,
    monkeypatch: pytest.MonkeyPatch,
    micro_batch: int,
) -> None:
    monkeypatch.setattr(passes, "CPU_TOKENS", 40)
    full, expected = step_and_gradient(model.double(), table, tiny_config)
    config = tiny_config.model_copy(update={"micro_batch": micro_batch})
    cached, gradients = step_and_gradient(model, table, config)
    assert cached.loss == full.loss
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-9, rtol=1e-6)


def test_unmasked_gradients_are_the_librarys_cached_ones(
    model: SentenceTransformer, table: TripletTable, tiny_config: TrainConfig
) -> None:
    stepping.still(model)
    rows = table.rows[torch.arange(0, 16, 3)]
    table = TripletTable(table.texts, rows)
    assert len(rows.unique()) == rows.numel(), "no equal texts, which theirs would not mask"
    _, gradients = step_and_gradient(model, table, tiny_config.model_copy(update={"micro_batch": 2}))
    theirs = CachedMultipleNegativesRankingLoss(model, scale=1 / tiny_config.temperature, mini_batch_size=2)
    theirs([model.preprocess([table.texts[text] for text in column]) for column in rows.T.tolist()], None).backward()
    for name, weight in model.named_parameters():
        expected = torch.zeros_like(weight) if weight.grad is None else weight.grad
        torch.testing.assert_close(gradients[name], expected, atol=1e-9, rtol=1e-6)


def test_triplets_without_hard_negatives_are_pairs(
    model: SentenceTransformer, table: TripletTable, tiny_config: TrainConfig
) -> None:
    stepping.still(model)
    rows = table.rows.clone()
    rows[:, 2] = NO_TEXT
    of_pairs, expected = step_and_gradient(model, TripletTable(table.texts, rows[:, :2]), tiny_config)
    result, gradients = step_and_gradient(model, TripletTable(table.texts, rows), tiny_config)
    assert result.loss == pytest.approx(of_pairs.loss, rel=1e-12)
    assert result.mask_rate == of_pairs.mask_rate
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-12, rtol=1e-9)


def test_pairs_train_without_hard_negatives(
    model: SentenceTransformer, table: TripletTable, tiny_config: TrainConfig
) -> None:
    stepper = make(model, TripletTable(table.texts, table.rows[:, :2]), tiny_config)
    losses = [stepper.step(table.rows[:, :2], seed=seed, learning_rate=0.01).loss for seed in range(8)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_what_is_not_finite_never_reaches_the_weights(
    model: SentenceTransformer, table: TripletTable, tiny_config: TrainConfig, where: str
) -> None:
    bias = model.transformers_model.encoder.layer[1].output.dense.bias
    if where == "forward":
        with torch.no_grad():
            bias[0] = torch.inf
    else:
        bias.register_hook(lambda gradient: gradient * torch.inf)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    message = r"the loss is .*(nan|inf).*train\.learning_rate \(now 0\.001\).*train\.temperature"
    with pytest.raises(NonFiniteError, match=message):
        make(model, table, tiny_config).step(table.rows, seed=0, learning_rate=1.0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_out_of_memory_halves_the_micro_batch(
    model: SentenceTransformer, table: TripletTable, tiny_config: TrainConfig
) -> None:
    stepping.still(model)
    _, expected = step_and_gradient(model, table, tiny_config)
    stepping.limit_batch(model, 7)
    result, gradients = step_and_gradient(model, table, tiny_config)
    assert result.micro_batch == 2
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-9, rtol=1e-6)

    stepper = make(model, table, tiny_config)
    calls: list[int] = []
    model.register_forward_pre_hook(lambda module, args: calls.append(len(args[0]["input_ids"])))
    for seed in range(2):
        assert stepper.step(table.rows, seed=seed, learning_rate=0.0).micro_batch == 2
    tries = len(calls)
    stepper.step(table.rows, seed=2, learning_rate=0.0)
    assert len(calls) - tries == 2 * 8 - 1, "it does not try again what did not fit; the last group is embedded once"


def test_too_little_memory_for_one_triplet(
    model: SentenceTransformer, table: TripletTable, tiny_config: TrainConfig
) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    stepping.limit_batch(model, 2)
    message = r"memory of cpu .* micro-batch of one triplet; lower train\.max_tokens \(now 16\).*train\.encoder"
    with pytest.raises(StageError, match=message):
        make(model, table, tiny_config).step(table.rows, seed=0, learning_rate=1.0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_other_failures_are_not_taken_for_too_little_memory(
    model: SentenceTransformer, table: TripletTable, tiny_config: TrainConfig
) -> None:
    def fail(module: nn.Module, args: Sequence[object]) -> None:
        raise RuntimeError("shapes do not fit")

    model.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        make(model, table, tiny_config).step(table.rows, seed=0, learning_rate=1.0)


def test_what_out_of_memory_looks_like() -> None:
    with pytest.raises(RuntimeError) as found:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(found.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(RuntimeError("could not create a primitive"))
    assert not is_out_of_memory(RuntimeError("could not create a primitive descriptor for a matmul primitive"))
    assert not is_out_of_memory(RuntimeError("the size of tensor a must match the size of tensor b"))


def test_memory_that_really_runs_out(toy_triplets: Triplets, tiny_bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bert"
    config = BertConfig(
        vocab_size=64, hidden_size=256, num_hidden_layers=6, num_attention_heads=4, intermediate_size=1024
    )
    with quiet():
        BertModel(config).save_pretrained(folder)
        load_encoder(str(tiny_bert), device="cpu").tokenizer.save_pretrained(folder)
    out = tmp_path / "report.json"
    train = TrainConfig(encoder=str(folder), device="cpu", batch_size=64)
    run_apart(stepping.run_short, [(toy_triplets[:64], train, 80, out)])
    report = json.loads(out.read_text())
    assert report["same"], "with dropout, to the bit"
    assert report["losses"][0] == report["losses"][1]
    assert report["micro"][0] is not None
    assert report["micro"][0] < 64
    assert report["micro"][1] is None


def test_two_processes_compute_what_one_does(
    few: Triplets, tiny_bert: Path, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    """Three steps on shares of unequal size and of none, with memory running out in one of the two."""
    model = stepping.still(load_encoder(str(tiny_bert), device="cpu"))
    config = tiny_config.model_copy(update={"phi": 1.0})
    single = stepping.take_steps(model, few[:12], config, Accelerator(cpu=True))

    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    outs = [tmp_path / f"{rank}.safetensors" for rank in range(2)]
    run_apart(stepping.share, [(rank, store.port, few[:12], config, out) for rank, out in enumerate(outs)])
    for out in outs:
        found = load_file(out)
        one, other = found["seen"]
        assert not torch.isclose(one, other).all(dim=1).any(), "each process draws its own dropout"
        assert found["loss"].tolist() == pytest.approx([result.loss for result in single], rel=1e-6)
        assert found["micro_batch"].tolist() == [2, 2, 2], "what does not fit in one is halved in both"
        for name, weight in model.named_parameters():
            torch.testing.assert_close(found[name], weight.detach(), atol=1e-9, rtol=1e-6)


def run_apart(work: object, jobs: Sequence[tuple[object, ...]]) -> None:
    """Runs a function in a process of its own for each job's arguments, all at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.train.stepping"])
    processes = [context.Process(target=work, args=job, daemon=True) for job in jobs]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * len(jobs)
