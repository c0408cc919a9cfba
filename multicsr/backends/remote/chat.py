"""Calls of a LangChain chat model: what is asked, what the answer says, and what a server will not be asked again."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from multicsr.backends.remote.faults import Fault, Kind, fault_of
from multicsr.backends.remote.keys import Key
from multicsr.backends.remote.retrying import Reply
from multicsr.backends.remote.spec import RemoteSpec
from multicsr.config import RemoteConfig
from multicsr.errors import ModelError
from multicsr.schemas import GenerateRequest, PromptText, Sampling
from multicsr.spending import Usage
from multicsr.text import encodable

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.runnables import Runnable

EXTRAS = ("openai", "anthropic")
SEEDED = ("openai", "azure_openai")  # that take a seed
LIKELIEST = 20  # first tokens that are asked for; no server gives more
METHODS = ("json_schema", "function_calling", "")  # how an answer is held to a schema; "" not at all
SCHEMA_TOKENS = 64  # that an answer by a schema may take besides what it says
OPTIONAL = ("temperature", "top_p", "seed", "stop", "top_logprobs", "logprobs")
FINISHES = ("finish_reason", "stop_reason", "done_reason")  # as providers call it
CUT = ("length", "max_tokens", "max_output_tokens")
REFUSED = ("content_filter", "refusal", "safety")
TOKEN_CHARS = 50  # an answer with more characters for each token that it may have is none
ESTIMATE_BYTES = 4  # of a token, where the server tells no number
MOST_TOKENS = 10**9  # that anybody can believe of one call


class ChatCalls:
    """One call at a time of a chat model, without retries.

    Args:
        http: makes OpenAI's calls; other providers' packages keep connections of their own, for as long as the process
            lives.

    Raises:
        ModelError: LangChain knows no such provider, its package is not installed, or it refuses the options.
    """

    def __init__(self, spec: RemoteSpec, config: RemoteConfig, key: Key, http: Any = None) -> None:
        self._spec, self._config, self._key, self._http = spec, config, key, http
        self._models: dict[tuple[float | None, float | None, int], BaseChatModel] = {}
        self._holding: dict[tuple[int, str, str], Runnable[Any, Any]] = {}
        self._left_out: set[str] = set()
        self._method = 0 if spec.provider in SEEDED else 1
        self._method_works = False
        self._model(Sampling())  # what is wrong with the name or the options is found here

    async def write(self, request: GenerateRequest) -> Reply:
        """What the model writes.

        Raises:
            Fault, or whatever the provider's library raises.
        """
        method = METHODS[self._method] if request.answer_schema and not request.first_tokens else ""
        sent = set(OPTIONAL) - self._left_out
        try:
            return await (self._fill_in(request, method) if method else self._ask(request))
        except Exception as error:
            fault = fault_of(error)
            if fault.kind is Kind.REQUEST and self._adapts(str(error), sent, method):
                raise Fault(Kind.RETRY, fault.reason, status=fault.status, at_once=True) from error
            raise

    async def _ask(self, request: GenerateRequest) -> Reply:
        options: dict[str, Any] = {}
        if self._spec.provider in SEEDED and "seed" not in self._left_out:
            options["seed"] = request.seed % 2**31
        stop = [text for text in request.sampling.stop if text.strip() or self._spec.provider in SEEDED]
        if stop and "stop" not in self._left_out:
            options["stop"] = stop
        if request.first_tokens and "logprobs" not in self._left_out:
            options |= {"logprobs": True, "top_logprobs": LIKELIEST}
        message = await self._model(request.sampling).ainvoke(turns(request.prompt), **options)
        reply = reply_of(message, request)
        return reply._replace(text=cut(reply.text.lstrip(), request.sampling.stop))

    async def _fill_in(self, request: GenerateRequest, method: str) -> Reply:
        """An answer that follows the schema, as JSON; or as it was written, if it does not.

        LangChain's own parsers are not asked: over a megabyte of garbage they think for seconds.
        """
        message = await self._held(request, method).ainvoke(turns(request.prompt))
        reply = reply_of(message, request)
        self._method_works = True
        filled = next((call["args"] for call in message.tool_calls), None) or _object(reply.text)
        return reply if filled is None else reply._replace(text=json.dumps(filled), finish="stop")

    def _held(self, request: GenerateRequest, method: str) -> Runnable[Any, Any]:
        """The model that answers by the schema; made once, which takes as long as a call."""
        sampling, schema = request.sampling, request.answer_schema or {}
        model = self._model(sampling.model_copy(update={"max_tokens": sampling.max_tokens + SCHEMA_TOKENS}))
        key = (id(model), method, json.dumps(schema, sort_keys=True))
        if key not in self._holding:
            name = str(schema.get("title", "answer"))
            if method == "json_schema":
                format = {"type": method, "json_schema": {"name": name, "schema": schema}}
                self._holding[key] = model.bind(response_format=format)
            else:
                self._holding[key] = model.bind_tools([{"title": name, **schema}], tool_choice=name)
        return self._holding[key]

    def _adapts(self, said: str, sent: set[str], method: str) -> bool:
        """Whether a refused call is worth another try, without a parameter or a method that the refusal is about.

        Calls beside it may have found that out before.
        """
        refused = {name for name in sent if re.search(rf"\b{name}\b", said)}
        if refused & {"logprobs", "top_logprobs"}:
            refused |= {"logprobs"}
        if not refused and method:
            if METHODS.index(method) < self._method:
                return True
            if not self._method_works:
                self._method += 1
                return True
        self._left_out |= refused
        return bool(refused)

    def _model(self, sampling: Sampling) -> BaseChatModel:
        temperature = None if "temperature" in self._left_out else sampling.temperature
        top_p = None if "top_p" in self._left_out or sampling.top_p == 1 else sampling.top_p
        key = (temperature, top_p, sampling.max_tokens)
        if key not in self._models:
            given = {"temperature": temperature, "top_p": top_p, "max_tokens": sampling.max_tokens}
            self._models[key] = self._opened({name: value for name, value in given.items() if value is not None})
        return self._models[key]

    def _opened(self, options: dict[str, Any]) -> BaseChatModel:
        spec = self._spec
        extra = f"'multicsr[{spec.provider}]'" if spec.provider in EXTRAS else "langchain and the provider's package"
        try:
            from langchain.chat_models import init_chat_model
        except ImportError:
            raise ModelError(f"{spec.typed}: remote models need LangChain; run: pip install {extra}") from None
        options |= {"timeout": self._config.timeout_s, "max_retries": 0}
        if spec.url:
            options["base_url"] = spec.url
        if spec.url and self._http is not None and "max_tokens" in options:
            # LangChain sends OpenAI's newer name for it, which some servers do not know.
            options["extra_body"] = {"max_tokens": options["max_tokens"]}
        if self._http is not None:
            options["http_async_client"] = self._http
        if self._key.value:
            options["api_key"] = self._key.value
        try:
            model: BaseChatModel = init_chat_model(
                spec.name, model_provider=spec.provider, **options | self._config.options
            )
            return model
        except ImportError as error:
            raise ModelError(f"{spec.typed}: {self._key.hide(str(error))} (pip install {extra})") from None
        except Exception as error:
            raise ModelError(
                f"{spec.typed}: cannot be opened: {self._key.hide(' '.join(str(error).split()))}"
            ) from None


def _object(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def turns(prompt: PromptText) -> list[dict[str, str]]:
    """A prompt as messages; a text is what a user says."""
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    return [{"role": message.role, "content": message.content} for message in prompt]


def cut(text: str, stop: tuple[str, ...]) -> str:
    """The text before the first of the strings that end it."""
    return text[: min((at for at in map(text.find, stop) if at >= 0), default=len(text))]


def reply_of(message: Any, request: GenerateRequest) -> Reply:
    """What a message says.

    Raises:
        Fault: it says nothing that can be used.
    """
    text = str(message.text)
    said = getattr(message, "usage_metadata", None)
    usage = counted(said and said["input_tokens"], said and said["output_tokens"], str(request.prompt), text)
    metadata = message.response_metadata
    finish = next((str(metadata[name]).lower() for name in FINISHES if metadata.get(name)), "")
    if finish in REFUSED:
        raise Fault(Kind.REQUEST, f"the provider refused to answer ({finish})", usage=usage)
    check(text, request.sampling.max_tokens, usage)
    first = _first_tokens(metadata) if request.first_tokens else {}
    return Reply(text, "length" if finish in CUT else "stop", usage, first)


def counted(prompt: Any, completion: Any, asked: str, answered: str) -> Usage:
    """The tokens that a server says that a call took; estimated where it says nothing that can be believed."""
    if all(type(n) is int and 0 <= n <= MOST_TOKENS for n in (prompt, completion)) and (prompt or completion):
        return Usage(prompt_tokens=prompt, completion_tokens=completion)
    sizes = [-(-len(text.encode("utf-8", "replace")) // ESTIMATE_BYTES) for text in (asked, answered)]
    return Usage(prompt_tokens=sizes[0], completion_tokens=sizes[1], estimated=1)


def check(text: str, max_tokens: int, usage: Usage) -> None:
    """Raises a Fault if no model would write this with so many tokens."""
    most = TOKEN_CHARS * max_tokens + 1000
    if len(text) > most:
        raise Fault(Kind.RETRY, f"no usable answer: {len(text):,} characters, for {max_tokens} tokens", usage=usage)
    if encodable(text) != text:
        raise Fault(Kind.RETRY, "no usable answer: it is no Unicode text", usage=usage)


def _first_tokens(metadata: Mapping[str, Any]) -> dict[str, float]:
    content = (metadata.get("logprobs") or {}).get("content") or []
    found = content[0].get("top_logprobs") or [] if content else []
    return {str(item["token"]): float(item["logprob"]) for item in found if item["logprob"] > -9999}
