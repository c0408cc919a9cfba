"""What both benchmarks ask of the engine: that it is warm, and where its time went."""

from __future__ import annotations

from multicsr.backends.base import LanguageModel
from multicsr.backends.llamacpp.gguf import bundled_gguf
from multicsr.backends.llamacpp.model import LlamaCppModel
from multicsr.backends.opening import HUGGING_FACE
from multicsr.bench.machine import gpu_peak_bytes, peak_bytes
from multicsr.bench.results import Speed
from multicsr.config import BUNDLED
from multicsr.schemas import GenerateRequest, Sampling


def warm_up(model: LanguageModel) -> None:
    """Lets the model touch its weights once; of this prompt nothing is of use to those that are measured."""
    list(model.generate([GenerateRequest(prompt="Hello", sampling=Sampling(max_tokens=2))]))


def engine_speed(model: LanguageModel, seconds: float) -> Speed:
    """The figures of the call that just ended; while the model is open, since its process is asked for its memory."""
    stats = model.stats if isinstance(model, LlamaCppModel) else None
    return Speed(
        seconds=seconds,
        processed_tokens=stats.processed_tokens if stats else None,
        decode_s=stats.decode_s if stats else None,
        sampling_s=stats.sampling_s if stats else None,
        peak_bytes=peak_bytes(),
        gpu_peak_bytes=gpu_peak_bytes(),
    )


def given_model(spec: str) -> str:
    """The file, folder or Hub id behind what the user types after --llm."""
    return str(bundled_gguf()) if spec == BUNDLED else spec.removeprefix(HUGGING_FACE)
