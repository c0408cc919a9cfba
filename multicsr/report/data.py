"""Everything the report shows, as one frozen record: the page is a pure function of it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from multicsr.schemas import Probability, Record, Similarity, Status
from multicsr.spending import Spent

Count = Annotated[int, Field(ge=0)]
Role = Literal["smoke", "development", "test"]


class LineReason(Record):
    """How many lines of the input could not be sentences, for one reason (`empty`, `not-utf8`, …)."""

    reason: str
    lines: Count


class Round(Record):
    """One attempt at every sentence that was still open: `attempt` is 0 for the first round.

    Attributes:
        written: sentences that it was made for, whether or not the model could write something.
        undecided: those of them whose triplet the judge or the filters have yet to see.
    """

    attempt: Count
    written: Count
    accepted: Count
    undecided: Count = 0

    @model_validator(mode="after")
    def _accepts_what_was_written(self) -> Self:
        if self.accepted + self.undecided > self.written:
            parts = f"{self.accepted} accepted and {self.undecided} undecided"
            raise ValueError(f"attempt {self.attempt} has {parts} of {self.written} written")
        return self


class EndReason(Record):
    """How many sentences ended rejected or failed for one reason.

    Attributes:
        filter: the filter that rejected them; for failed sentences the layer that failed.
    """

    status: Literal[Status.REJECTED, Status.FAILED]
    filter: str
    reason: str
    sentences: Count


class Funnel(Record):
    """What became of every line of the input.

    Attributes:
        unusable: rejected lines by reason, duplicates excluded.
        beyond_limit: lines left out because the run was limited to the first N sentences.
        rounds: in order of attempt.
        accepted, rejected, failed, pending: how the sentences ended; `pending` in a run that has not ended.
        reasons: why sentences ended rejected or failed, each sentence counted once, under its last attempt.
    """

    lines: Count
    unusable: tuple[LineReason, ...] = ()
    duplicates: Count = 0
    beyond_limit: Count = 0
    sentences: Count
    rounds: tuple[Round, ...] = ()
    accepted: Count = 0
    rejected: Count = 0
    failed: Count = 0
    pending: Count = 0
    reasons: tuple[EndReason, ...] = ()

    @model_validator(mode="after")
    def _counts_add_up(self) -> Self:
        unusable = sum(item.lines for item in self.unusable)
        sums = {
            "lines": (self.lines, self.sentences + self.duplicates + self.beyond_limit + unusable),
            "sentences": (self.sentences, self.accepted + self.rejected + self.failed + self.pending),
            "rejected": (self.rejected, self._explained(Status.REJECTED)),
            "failed": (self.failed, self._explained(Status.FAILED)),
        }
        wrong = [f"{name} is {total}, its parts are {parts}" for name, (total, parts) in sums.items() if total != parts]
        if wrong:
            raise ValueError(f"counts do not add up: {'; '.join(wrong)}")
        return self

    def _explained(self, status: Status) -> int:
        return sum(item.sentences for item in self.reasons if item.status is status)


class Thresholds(Record):
    """The curation filter's: keep a triplet iff a ≥ α, b ≤ β and a ≥ b + γ, all on the scale 0 to 5."""

    alpha: float
    beta: float
    gamma: float


class Cascade(Record):
    """How the two judges of a cascade shared the pairs.

    Attributes:
        first, second: their names.
        low, high: the similarities from the first between which, both included, the second was asked.
        alone: pairs that the first decided.
        escalated: pairs that the second was asked too.
        second_spent: what the second's calls took, where its model is a remote one.
    """

    first: str
    second: str
    low: Similarity
    high: Similarity
    alone: Count
    escalated: Count
    second_spent: Spent | None = None


class Point(Record):
    """One judged triplet: `a` is the similarity of anchor and positive, `b` of anchor and hard negative, 0 to 5.

    `swapped` is whether a filter exchanged the two; they stand here as they were used.
    """

    sentence_id: int
    a: Similarity
    b: Similarity
    status: Status
    anchor: str
    swapped: bool = False


class Example(Record):
    """One triplet to read, as it was used. A failed sentence may lack what was never written or judged.

    Attributes:
        a, b: similarities of the positive and of the hard negative to the anchor.
        contradiction_positive, contradiction_negative: how likely each contradicts the anchor; None where no
            judge said.
        swapped: whether a filter exchanged positive and hard negative, which stand here as they were used.
    """

    sentence_id: int
    status: Literal[Status.ACCEPTED, Status.REJECTED, Status.FAILED]
    attempt: Count
    anchor: str
    positive: str | None = None
    negative: str | None = None
    a: Similarity | None = None
    b: Similarity | None = None
    contradiction_positive: Probability | None = None
    contradiction_negative: Probability | None = None
    swapped: bool = False
    filter: str = ""
    reason: str = ""
    detail: str = ""


class Attempt(Record):
    """One pair that was written for a sentence, as it was used, and what became of it.

    Attributes:
        attempt: 0 for the first round.
        mode: how it was decoded; empty where nothing was written.
        status: `pending` where nothing was decided, since an earlier attempt was accepted or the run has not ended.
        filter: who ended it: a filter, a layer that failed, or `review` for a person; empty where all accepted it.
        curated: whether α, β and γ decide about it: no filter before curation rejects it, and none after it.
        reviewer: who accepted or rejected it, and when; empty for nobody.
        written: positive and hard negative as the generator wrote them, where a person changed one of them.
    """

    attempt: Count
    mode: str = ""
    positive: str | None = None
    negative: str | None = None
    a: Similarity | None = None
    b: Similarity | None = None
    contradiction_positive: Probability | None = None
    contradiction_negative: Probability | None = None
    swapped: bool = False
    status: Status
    filter: str = ""
    reason: str = ""
    detail: str = ""
    curated: bool = False
    reviewer: str = ""
    written: tuple[str, str] | None = None


class Story(Record):
    """A sentence with all that was tried for it, in order."""

    sentence_id: int
    line: int
    text: str
    status: Status
    attempts: tuple[Attempt, ...] = ()


class JudgeScores(Record):
    """What one judge said of the run's pairs: `positive` and `negative` are its similarities, in any order."""

    name: str
    positive: tuple[Similarity, ...]
    negative: tuple[Similarity, ...]


class JudgeAgreement(Record):
    """How far two judges agree on the pairs that both rated.

    Attributes:
        pairs: of anchor and positive, and of anchor and hard negative.
        spearman: rank correlation of their similarities, −1 to 1; None where one of them says the same of all.
        distance: mean absolute difference of their similarities, 0 to 5.
        same: share of the triplets that curation would keep, or reject, by both; None where no curation is on.
    """

    first: str
    second: str
    pairs: Count
    spearman: float | None = Field(None, ge=-1, le=1)
    distance: float = Field(ge=0, le=5)
    same: Probability | None = None


class Reviewed(Record):
    """How many sentences people decided, and who: `edited` of the accepted ones have a sentence that a person wrote."""

    accepted: Count
    edited: Count
    rejected: Count
    reviewers: tuple[str, ...]


class LossPoint(Record):
    """The loss at one optimisation step; `mask_rate` is the share of in-batch negatives that the teacher masked."""

    step: Count
    loss: float
    mask_rate: float | None = Field(None, ge=0, le=1)


class DevPoint(Record):
    """Spearman × 100 on the development set at one optimisation step."""

    step: Count
    spearman: float = Field(ge=-100, le=100)


class SeedCurve(Record):
    """How the training with one seed went."""

    seed: int
    loss: tuple[LossPoint, ...] = ()
    dev: tuple[DevPoint, ...] = ()


class Trained(Record):
    """What the encoders were trained on.

    Attributes:
        triplets: accepted ones.
        without: sentences that have none.
        own: of these, how many are their own positive; the others have one that was written for them.
    """

    triplets: Count
    without: Count = 0
    own: Count = 0


class SeedScore(Record):
    """Spearman × 100 of the model trained with one seed."""

    seed: int
    spearman: float = Field(ge=-100, le=100)


class EvaluationRow(Record):
    """One evaluation set: Spearman × 100 of the cosine similarity against human scores.

    Attributes:
        role: `smoke` is a small set of made-up pairs that shows that all stages work, never a benchmark; `development`
            chose the checkpoint; `test` did neither.
        before: of the base encoder; None where it was not measured.
        after: mean over the seeds; None before training.
        interval: 95 % interval (low, high) of that mean; None for a single seed.
        leaked: sentences of the set that were trained on; None where nobody looked.
        sentences: of the set, different ones; None where nobody counted.
    """

    name: str
    role: Role
    pairs: Count
    before: float | None = Field(None, ge=-100, le=100)
    after: float | None = Field(None, ge=-100, le=100)
    interval: tuple[float, float] | None = None
    per_seed: tuple[SeedScore, ...] = ()
    leaked: Count | None = None
    sentences: Count | None = None


class ProvenanceRow(Record):
    """One fact; a value of several lines, such as YAML, is shown as it is."""

    key: str
    value: str


class ProvenanceSection(Record):
    """Facts that belong together, such as the versions of the prompts."""

    title: str
    rows: tuple[ProvenanceRow, ...]


class ReportData(Record):
    """A run, as its report shows it.

    Attributes:
        title: what the run is called, usually its folder's name.
        headline_set: name of the evaluation row that the page's first sentence quotes; None for none.
        omega: ω of contrastive generation; None where nothing was generated.
        phi: φ of the similarity mask; None where nothing was trained.
        thresholds: None where no curation filter ran.
        contradiction: the least probability of contradiction that curation asks of a hard negative, and one minus the
            most that it allows a positive; None where it asks for none.
        cascade: None where another judge rated the pairs.
        points: the judged triplets; a chart draws 3,000 of them at most and says so.
        positive_scores, negative_scores: every judged a and b, for the histograms.
        judge: what the run's judge is called.
        examples: a few hundred at most, in the order in which they are to be read.
        spending: what remote models took, by stage and model.
        stories: of all sentences, for the page's browser, which holds `pairs.MAX_STORIES` of them at most.
        chain: the filters in the order in which they look at a triplet.
        other_judges: those besides the run's judge whose scores the run holds too.
        agreements: of each two judges.
        reviewed: None where nobody reviewed anything.
        trained: None where nothing was.
    """

    title: str
    created: AwareDatetime
    version: str
    funnel: Funnel
    headline_set: str | None = None
    omega: float | None = None
    phi: float | None = None
    thresholds: Thresholds | None = None
    contradiction: Probability | None = None
    cascade: Cascade | None = None
    points: tuple[Point, ...] = ()
    positive_scores: tuple[Similarity, ...] = ()
    negative_scores: tuple[Similarity, ...] = ()
    examples: tuple[Example, ...] = ()
    stories: tuple[Story, ...] = ()
    chain: tuple[str, ...] = ()
    judge: str = ""
    other_judges: tuple[JudgeScores, ...] = ()
    agreements: tuple[JudgeAgreement, ...] = ()
    reviewed: Reviewed | None = None
    trained: Trained | None = None
    curves: tuple[SeedCurve, ...] = ()
    evaluation: tuple[EvaluationRow, ...] = ()
    provenance: tuple[ProvenanceSection, ...] = ()
    spending: tuple[Spent, ...] = ()

    @model_validator(mode="after")
    def _headline_is_evaluated(self) -> Self:
        names = [row.name for row in self.evaluation]
        if self.headline_set is not None and self.headline_set not in names:
            raise ValueError(f"headline_set `{self.headline_set}` is not among the evaluated sets: {names}")
        return self

    @model_validator(mode="after")
    def _examples_are_counted(self) -> Self:
        counted = {(item.status, item.filter, item.reason) for item in self.funnel.reasons}
        for item in self.examples:
            if item.status is not Status.ACCEPTED and (item.status, item.filter, item.reason) not in counted:
                where = f"{item.status} by `{item.filter}` for `{item.reason}`"
                raise ValueError(f"example {item.sentence_id} is {where}, which funnel.reasons does not count")
        return self
