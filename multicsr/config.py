"""The configuration: every key that a user may set, with its default, its bounds and what it means."""

from __future__ import annotations

import re
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from multicsr.schemas import Record

BUNDLED = "bundled"
OPERATION = ("remote.", "cost.", "budget.", "executor.")
"""Where rows are made, and how calls are made and paid for, decides nothing that a run writes."""
DECIDING = ("remote.options",)  # but for this
CREDENTIAL = re.compile(
    r"api[-_]?key|secret|passw|authorization|credential|(access|auth|bearer)[-_]?token", re.IGNORECASE
)


class InputConfig(Record):
    """Where the sentences come from."""

    source: str = Field(
        BUNDLED,
        description="a .txt, .csv, .tsv, .jsonl or .parquet file, also s3://… and the like, - for stdin, hf:NAME for a "
        "Hub data set (hf:NAME:SPLIT, hf:NAME:SUBSET:SPLIT), or `bundled`",
    )
    column: str | None = Field(None, description="the column or key that holds the sentence; txt files have none")
    limit: int | None = Field(None, ge=1, description="use only the first N sentences")
    max_chars: int = Field(1000, ge=1, description="a longer line is rejected as too-long")


class GenerateConfig(Record):
    """Stage 1: the language model writes an entailment and a contradiction for every sentence."""

    llm: str = Field(
        BUNDLED,
        description="`bundled`, a GGUF file, hf:NAME (a Hub id or folder), or a remote model: openai:NAME, "
        "openai:NAME@URL, anthropic:NAME",
    )
    omega: float = Field(0.5, ge=0, description="ω: weight of the opposite instruction's logits; 0 is plain prompting")
    plausibility: float = Field(0.1, gt=0, le=1, description="α_p: tokens below α_p · the most likely one are excluded")
    entailment: str = Field(
        "auto", description="prompt id of the positive; auto is `entailment`, for a remote chat model `entailment-chat`"
    )
    contradiction: str = Field(
        "auto", description="prompt id of the hard negative; auto is `contradiction`, or `contradiction-chat`"
    )
    exemplars: int = Field(2, ge=0, description="examples shown in a prompt")
    exemplar_sets: int = Field(
        8, ge=1, description="draws of examples; sentence, seed and attempt pick one, so that none floods the corpus"
    )
    max_tokens: int = Field(64, ge=1, description="longest sentence to write, in tokens")
    temperature: float = Field(0.0, ge=0, description="0 is greedy")
    top_p: float = Field(1.0, gt=0, le=1, description="nucleus sampling, only with a temperature")
    drafts: int = Field(
        3, ge=1, description="sentences to choose from where ω > 0 and a model cannot contrast token by token"
    )


class ExecutorConfig(Record):
    """Where generating and judging run; it changes no row, and may differ each time that a run goes on."""

    kind: Literal["here", "ray"] = Field("here", description="this process, or workers on a Ray cluster")
    address: str | None = Field(
        None, description="the cluster: HOST:PORT, auto, or ray://HOST:PORT; by default one is started on this machine"
    )
    workers: int | None = Field(None, ge=1, description="how many; by default as many as the cluster has room for")
    cpus: int | None = Field(
        None, ge=1, description="CPUs of a worker; by default all of the smallest machine's, or its share beside a GPU"
    )
    gpus: float = Field(0, ge=0, description="GPUs of a worker; a fraction shares one")
    in_flight: int = Field(128, ge=1, description="sentences that a worker has at a time, to write pairs for")


class LlamaCppConfig(Record):
    """How GGUF models run on llama.cpp; nothing here is needed to start."""

    weights: Literal["auto", "file", "f32", "f16", "bf16", "q8_0"] = Field(
        "auto",
        description="numeric type to decode from, by a copy in the cache; auto picks the fastest that loses nothing "
        "much, file uses the file as it is",
    )
    gpu_layers: int = Field(-1, ge=-1, description="layers on the GPU, where llama.cpp was built for one; -1 is all")
    memory_mb: int | None = Field(
        None, ge=64, description="memory for keys and values; by default an eighth of the machine's, at most 2 GiB"
    )


class RemoteConfig(Record):
    """How remote models are called; nothing here is needed to start."""

    base_url: str | None = Field(
        None, description="server of the openai: models that name none themselves (openai:NAME@URL)"
    )
    api_key_env: str | None = Field(
        None, description="variable that holds the key; by default OPENAI_API_KEY and the like, then the keyring"
    )
    concurrency: int = Field(8, ge=1, le=1000, description="calls of one model at a time")
    timeout_s: float = Field(60.0, gt=0, description="a call that takes longer is given up, and made again")
    deadline_s: float = Field(600.0, gt=0, description="for a request, with all its retries and waits")
    retries: int = Field(8, ge=0, description="calls after the first that a request may cost")
    backoff_s: float = Field(
        1.0, gt=0, description="longest wait before the first retry, doubled for each further one; drawn at random"
    )
    backoff_max_s: float = Field(60.0, gt=0, description="longest wait, unless the server asks for a longer one")
    failures: int = Field(20, ge=1, description="requests in a row that may fail before the run stops")
    options: dict[str, Any] = Field(
        default_factory=dict, description="further arguments of LangChain's init_chat_model, for every remote model"
    )

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is not None and (objection := url_objection(value)):
            raise ValueError(objection)
        return value

    @field_validator("options")
    @classmethod
    def _holds_no_secret(cls, value: dict[str, Any]) -> dict[str, Any]:
        if found := next((key for key in leaves(value) if CREDENTIAL.search(key)), None):
            raise ValueError(f"{found} looks like a secret, and a configuration is stored; see remote.api_key_env")
        return value


def url_objection(url: str) -> str | None:
    """Why the address of a server cannot be used, if so."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "must be the address of a server, such as http://127.0.0.1:8000/v1"
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        return "must not hold a name, a password or a query, since it is stored; see remote.api_key_env"
    return None


class Price(Record):
    """What a million tokens cost, in US dollars."""

    input_usd_per_mtok: float = Field(ge=0)
    output_usd_per_mtok: float = Field(ge=0)


class CostConfig(Record):
    """What remote models cost, as their provider lists it."""

    input_usd_per_mtok: float | None = Field(None, ge=0, description="US dollars for a million tokens of prompts")
    output_usd_per_mtok: float | None = Field(None, ge=0, description="US dollars for a million tokens written")
    models: dict[str, Price] = Field(
        default_factory=dict,
        description="of models with prices of their own: "
        "{openai:NAME: {input_usd_per_mtok: 1, output_usd_per_mtok: 4}}",
    )

    def price(self, spec: str) -> Price | None:
        """The price of the remote model, if it is known."""
        for name in (spec, spec.partition("@http")[0]):  # with the address of its server, or without
            if name in self.models:
                return self.models[name]
        if self.input_usd_per_mtok is None or self.output_usd_per_mtok is None:
            return None
        return Price(input_usd_per_mtok=self.input_usd_per_mtok, output_usd_per_mtok=self.output_usd_per_mtok)


class BudgetConfig(Record):
    """What a run may spend on remote models, all its sessions together; it can be raised at any time."""

    usd: float | None = Field(None, gt=0, description="US dollars, by the prices of `cost`")
    tokens: int | None = Field(None, ge=1, description="tokens read and written")


class JudgeConfig(Record):
    """Stage 2: a judge gives every pair a similarity from 0 to 5."""

    name: str = Field(
        "auto",
        description="a judge's name (see `multicsr plugins list`); auto is `likelihood`, for a remote model `rubric`",
    )
    options: dict[str, Any] = Field(default_factory=dict, description="the judge's own options")
    llm: str | None = Field(None, description="the judge's language model; by default the generator's")
    calibration: str = Field(
        "auto",
        description="maps the judge's numbers to 0 to 5: a file of `multicsr calibrate`, none, or auto (what ships "
        "with multicsr for this judge and model, if anything does)",
    )
    chunk: int = Field(64, ge=1, description="triplets that are judged, and stored, as one unit of work")


class TrainConfig(Record):
    """Stage 3: contrastive training of the sentence encoder."""

    encoder: str = Field(
        BUNDLED, description="`bundled`, a Hub id, a local folder or a GGUF file: an encoder, or a language model"
    )
    teacher: str | None = Field(None, description="the frozen teacher of the similarity mask; by default the encoder")
    mask: Literal["absolute", "relative", "margin"] = Field(
        "absolute",
        description="an in-batch negative is masked where the teacher's cosine to the anchor exceeds φ (absolute), "
        "(1 − mask_margin) × its cosine of anchor and positive (relative), or that cosine − mask_margin (margin)",
    )
    phi: float = Field(0.95, ge=-1, le=1, description="φ of an absolute mask; 1 masks nothing")
    mask_margin: float = Field(0.0, ge=0, le=1, description="of a relative or margin mask; 0 is that of GIST")
    temperature: float = Field(0.05, gt=0, description="τ of the loss")
    hard_negative_weight: float = Field(1.0, gt=0, description="of an anchor's own hard negative in the denominator")
    graded_weight: float = Field(
        0.0,
        ge=0,
        description="of the graded loss, added to the contrastive one: judged pairs, of rejected triplets too, in the "
        "order of judge and teacher",
    )
    judge_weight: float = Field(
        0.5, ge=0, description="of the judge's similarity beside the teacher's in that order, both as standard scores"
    )
    all_sentences: bool = Field(
        True,
        description="train on the sentences without an accepted triplet as well, each with the positive that was "
        "written for it where that passed, else as its own positive (dropout alone)",
    )
    batch_size: int = Field(64, ge=2, description="triplets in a batch")
    micro_batch: int | None = Field(
        None,
        ge=1,
        description="triplets whose activations are held at a time (gradient caching: the same gradients, about a "
        "third more work); by default all of a batch, and halves of it when memory runs out",
    )
    precision: Literal["auto", "float32", "bf16"] = Field(
        "auto", description="of the encoder's products: auto is bf16 on a GPU that has it, else float32"
    )
    compile: bool = Field(False, description="compile the encoder (torch.compile): slow first steps, faster later ones")
    interpolation: float | None = Field(
        None,
        gt=0,
        le=1,
        description="share of the trained weights in those that are kept, the rest being the encoder's as it came; by "
        "default 0.5 for an encoder that was tuned for sentences, else 1",
    )
    epochs: int = Field(3, ge=1, description="passes over the triplets; with a graded loss over all that is judged")
    learning_rate: float = Field(5e-5, gt=0, description="the highest, after warming up; then it falls to 0")
    weight_decay: float = Field(0.0, ge=0, description="of AdamW, for weight matrices")
    warmup: float = Field(0.1, ge=0, le=1, description="share of the steps with a rising learning rate")
    max_grad_norm: float = Field(1.0, gt=0, description="a longer gradient is scaled down to it")
    max_tokens: int = Field(64, ge=4, description="a longer sentence is truncated")
    pooling: Literal["auto", "mean", "cls", "last"] = Field(
        "auto", description="for an encoder that does not bring its own; auto is mean, last the last token"
    )
    whiten: bool | None = Field(
        None,
        description="begin with the vectors of the run's sentences spread evenly, by a linear layer that stays in the "
        "model; by default for language models that were never tuned for sentences",
    )
    head: Literal["none", "mlp"] = Field(
        "none", description="mlp: a dense layer with tanh on the sentence vector, in training only, as SimCSE has it"
    )
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="one model is trained per seed; the first is saved")
    checkpoint_steps: int = Field(200, ge=1, description="steps between checkpoints, from which a training goes on")
    evaluate_steps: int = Field(25, ge=1, description="steps between looks at the development set")
    dev: str | None = Field(
        None,
        description="TSV that chooses the best checkpoint; none keeps the last one; by default stsb-dev.tsv of "
        "evaluate.sts_dir, if it is there",
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps")

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) != len(value):
            raise ValueError("the same seed twice trains the same model twice; name different seeds")
        return value


class EvaluateConfig(Record):
    """What the encoder is measured on, before and after training."""

    sts_dir: str | None = Field(None, description="folder of TSV files with sentence1, sentence2, score")
    hub_sets: tuple[str, ...] = Field(
        (), description="Hub data sets with such columns: [mteb/stsbenchmark-sts, NAME:SPLIT]; needs multicsr[mteb]"
    )
    mteb_tasks: tuple[str, ...] = Field(
        (), description="tasks of MTEB, by their main score: [STS12, SICK-R]; needs multicsr[mteb] and the Hub"
    )


DEFAULT_FILTERS: dict[str, dict[str, Any] | None] = {
    "length": {},
    "copy": {},
    "exemplar-leak": {},
    "repetition": {},
    "refusal": {},
    "language": {},
    "curation": {"alpha": 3.0, "beta": 3.0, "gamma": 1.0},
    "duplicate": {},
}


class Config(Record):
    """Everything a run depends on, besides the sentences themselves."""

    seed: int = Field(0, ge=0, description="of exemplars and sampling; training has seeds of its own")
    rounds: int = Field(2, ge=1, description="attempts for a sentence whose triplet is rejected for a retryable reason")
    plugins: tuple[str, ...] = Field((), description="plugin files to load")
    plugin_timeout_s: float = Field(30.0, gt=0, description="a filter or judge that takes longer for a row fails it")
    plugin_failures: int = Field(20, ge=1, description="rows in a row that a plugin may fail before the run stops")
    prompts: str | None = Field(None, description="a folder of further prompt templates")
    input: InputConfig = InputConfig()
    generate: GenerateConfig = GenerateConfig()
    llamacpp: LlamaCppConfig = LlamaCppConfig()
    remote: RemoteConfig = RemoteConfig()
    cost: CostConfig = CostConfig()
    budget: BudgetConfig = BudgetConfig()
    executor: ExecutorConfig = ExecutorConfig()
    judge: JudgeConfig = JudgeConfig()
    filters: dict[str, dict[str, Any] | None] = Field(
        DEFAULT_FILTERS,
        description="filter name → its options, in the order in which they look at a triplet; null switches one off",
    )
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()

    @field_validator("filters")
    @classmethod
    def _as_in_a_file(cls, value: dict[str, Any]) -> dict[str, Any]:
        # A file adds to the default filters and their options. So every default filter is named here, on or off, and
        # of the others only those that are on: what is written to a file then reads back as it was.
        on = {
            name: (DEFAULT_FILTERS.get(name) or {}) | options for name, options in value.items() if options is not None
        }
        names = [*(name for name in value if name in on or name in DEFAULT_FILTERS), *DEFAULT_FILTERS]
        return {name: on.get(name) for name in names}


def differences(old: Config, new: Config) -> list[str]:
    """Lines `key: old → new` for every leaf in which two configurations differ."""
    a, b = leaves(old.model_dump(mode="json")), leaves(new.model_dump(mode="json"))
    lines = [f"{key}: {a.get(key)!r} → {b.get(key)!r}" for key in sorted(a | b) if a.get(key) != b.get(key)]
    orders = [", ".join(config.filters) for config in (old, new)]
    if old.filters.keys() == new.filters.keys() and orders[0] != orders[1]:
        lines.append(f"filters: {orders[0]} → {orders[1]}")
    return lines


def deciding_differences(old: Config, new: Config) -> list[str]:
    """Those of the differences that decide what a run writes; the others may come about at any time."""
    return [line for line in differences(old, new) if not line.startswith(OPERATION) or line.startswith(DECIDING)]


def leaves(data: Any, prefix: str = "") -> dict[str, Any]:
    key = prefix.removesuffix(".")
    if not isinstance(data, dict):
        return {key: data}
    below = {k: v for name, child in data.items() for k, v in leaves(child, f"{prefix}{name}.").items()}
    return {key: {}} | below  # that the mapping is there differs from null
