"""The records that cross a boundary: between stages, backends, plugins, and into the run's database."""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Record(BaseModel):
    """A frozen Pydantic model that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def content_hash(*parts: Any) -> str:
    """SHA-256 (hex, 64 characters) of JSON-serialisable parts, independent of dictionary order."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# --- language models -------------------------------------------------------------------------------------------------


class Capability(StrEnum):
    """What a language model can do for us.

    FIRST_TOKENS: its completions tell how likely each beginning was (`GenerateRequest.first_tokens`). SCHEMA: it can be
    held to a JSON schema (`GenerateRequest.answer_schema`). The others are methods of `LanguageModel`.
    """

    GENERATE = "generate"
    CONTRAST = "contrast"
    SCORE = "score"
    FIRST_TOKENS = "first-tokens"
    SCHEMA = "schema"


METHODS = frozenset({Capability.GENERATE, Capability.CONTRAST, Capability.SCORE})
"""What a model whose weights are here can do: the methods of `LanguageModel`."""


class Sampling(Record):
    """How the next token is chosen and when a completion ends. Temperature 0 is greedy."""

    max_tokens: int = Field(64, ge=1)
    temperature: float = Field(0.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    stop: tuple[str, ...] = ("\n",)


class Message(Record):
    """One turn of a conversation with a chat model."""

    role: Literal["system", "user", "assistant"]
    content: str


PromptText = str | tuple[Message, ...]
"""What a model continues: a text as it stands, or a conversation that the model's chat template puts into words; the
answer is then the assistant's next turn. What a message says is never read as a control token."""


class GenerateRequest(Record):
    """One prompt to continue. `seed` makes sampling depend on this row alone, never on its neighbours.

    Attributes:
        first_tokens: whether the likeliest first tokens are wanted, from a model that can tell them.
        answer_schema: the JSON schema that the answer is to follow, from a model that can be held to one.
    """

    prompt: PromptText
    sampling: Sampling = Sampling()
    seed: int = 0
    first_tokens: bool = False
    answer_schema: dict[str, Any] | None = None


class ContrastRequest(GenerateRequest):
    """One prompt to continue against its opposite: s_t = l_t − ω·l̂_t among the plausible tokens (design 1).

    Attributes:
        opposite: the prompt with the opposite instruction, Î; both streams see the same output so far.
        omega: ω ≥ 0, how much of the opposite's logits is taken off; 0 is plain prompting.
        plausibility: α_p in (0, 1]; only tokens with p(v|I) ≥ α_p · max p(w|I) may be chosen.
    """

    opposite: PromptText
    omega: float = Field(0.5, ge=0)
    plausibility: float = Field(0.1, gt=0, le=1)


class ScoreRequest(Record):
    """Continuations of one prompt whose token log-probabilities are wanted."""

    prompt: PromptText
    continuations: tuple[str, ...]


class Completion(Record):
    """What a model wrote for the request at `index`; `finish` is "length" where `max_tokens` cut it off.

    Attributes:
        first_tokens: natural-log probabilities of the likeliest first tokens, where they were wanted and given.
    """

    index: int
    text: str
    tokens: int
    finish: Literal["stop", "length"]
    first_tokens: dict[str, float] = {}


class RequestFailure(Record):
    """Why the request at `index` has no answer, for instance a too long prompt. The row fails, not the run."""

    index: int
    reason: str


class TokenLogProbs(Record):
    """Natural-log probabilities of each continuation's tokens for the score request at `index`."""

    index: int
    log_probs: tuple[tuple[float, ...], ...]


class ModelInfo(Record):
    """Which model it is, exactly enough to tell two runs apart.

    Attributes:
        spec: what the user typed (`bundled`, a path, `hf:…`, `openai:…`).
        backend: `llamacpp`, `transformers` or `remote`.
        fingerprint: hash of weights, numeric type and tokenizer; it goes into every row.
        details: what a person wants to know (file, architecture, parameters, type).
        prompts: the format of the prompts that it gets unless others are named.
    """

    spec: str
    backend: str
    fingerprint: str
    capabilities: frozenset[Capability]
    details: dict[str, str] = {}
    prompts: Literal["completion", "chat"] = "completion"


# --- sentences, triplets, scores, verdicts ---------------------------------------------------------------------------

Similarity = Annotated[float, Field(ge=0, le=5)]
Probability = Annotated[float, Field(ge=0, le=1)]


class Sentence(Record):
    """An anchor as it came in: `line` is its 1-based line (or row) in the source."""

    line: int
    text: str


class InputRejection(Record):
    """A line of the input that cannot be a sentence."""

    line: int
    reason: Literal["empty", "not-utf8", "nul", "too-long", "malformed", "duplicate"]
    detail: str = ""


class Generated(Record):
    """One sentence that the generator wrote."""

    text: str
    tokens: int
    finish: Literal["stop", "length"]


class Anchor(Record):
    """A sentence to write a pair for; `attempt` counts the rounds from 0."""

    text: str
    attempt: int = 0


class Candidate(Record):
    """The pair the generator wrote for one anchor at one attempt, before anyone judged it.

    Attributes:
        mode: how it was written: `contrast` (two streams), `plain` (ω = 0), `sequence` (of some drafts, the one that is
            likeliest under its prompt and unlikely under the opposite) or `best-of-n` (of some drafts, the judge's).
        exemplars: every sentence that the two prompts showed as an example.
    """

    anchor: str
    attempt: int
    positive: Generated
    negative: Generated
    mode: Literal["contrast", "plain", "sequence", "best-of-n"]
    exemplars: tuple[str, ...]


class Pair(Record):
    """Two sentences whose similarity a judge is asked for. `first` is the anchor."""

    first: str
    second: str


class Score(Record):
    """A judge's answer.

    Attributes:
        similarity: 0 (unrelated or opposed) to 5 (same meaning).
        raw: the number that the judge made it from, if it has one: higher means more similar. A calibration maps it.
        contradiction: how likely the second contradicts the first, if the judge can tell; two sentences may be close
            in topic and contradict each other, which is what a hard negative should do.
    """

    similarity: Similarity
    raw: float | None = None
    contradiction: Probability | None = None


class Failure(Record):
    """What a judge answers for a pair that it could not judge; the row fails with this reason, the run goes on.

    Attributes:
        verbatim: what the model answered instead of a score, word for word, each time that it was asked.
    """

    reason: str
    verbatim: tuple[str, ...] = ()


class Triplet(Record):
    """What a filter sees: the anchor, what was written for it, and what the judge thinks.

    Attributes:
        similarity_positive: a, similarity of anchor and positive, 0 to 5; None where no judge ran.
        similarity_negative: b, similarity of anchor and hard negative, 0 to 5; None where no judge ran.
        contradiction_positive: how likely the positive contradicts the anchor, 0 to 1; None where no judge said.
        contradiction_negative: how likely the hard negative contradicts the anchor, 0 to 1; None where no judge said.
        exemplars: the example sentences of the prompts it was written from.
        truncated: whether a sentence was cut off at the token limit.
        attempt: 0 for the first round.
    """

    anchor: str
    positive: str
    negative: str
    similarity_positive: Similarity | None = None
    similarity_negative: Similarity | None = None
    contradiction_positive: Probability | None = None
    contradiction_negative: Probability | None = None
    exemplars: tuple[str, ...] = ()
    truncated: bool = False
    attempt: int = 0


class Verdict(Record):
    """A filter's answer: accepted, or rejected for a reason (a short code) with a detail for people.

    `retry` asks the generator for another attempt in the next round. `swap` accepts the triplet with positive and hard
    negative exchanged; later filters see it so.
    """

    accepted: bool
    reason: str = ""
    detail: str = ""
    retry: bool = False
    swap: bool = False

    @classmethod
    def accept(cls) -> Verdict:
        return cls(accepted=True)

    @classmethod
    def swapped(cls, reason: str, detail: str = "") -> Verdict:
        return cls(accepted=True, reason=reason, detail=detail, swap=True)

    @classmethod
    def reject(cls, reason: str, detail: str = "", *, retry: bool = False) -> Verdict:
        return cls(accepted=False, reason=reason, detail=detail, retry=retry)


class Status(StrEnum):
    """How a sentence ends. PENDING is for a run that has not ended."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    FAILED = "failed"
