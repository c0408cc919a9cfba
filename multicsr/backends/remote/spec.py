"""How a remote model is named: `openai:NAME`, `openai:NAME@URL`, `anthropic:NAME`, or any provider of LangChain."""

from __future__ import annotations

from typing import NamedTuple

from multicsr.config import RemoteConfig, url_objection
from multicsr.errors import ModelError
from multicsr.naming import REMOTE


class RemoteSpec(NamedTuple):
    """A remote model as it was named.

    Attributes:
        typed: what the user typed.
        url: its server; None is the provider's own.
    """

    typed: str
    provider: str
    name: str
    url: str | None


def parse_spec(spec: str, config: RemoteConfig) -> RemoteSpec:
    """The parts of a remote model's name; an `openai:` model without a server has that of the configuration.

    Raises:
        ModelError: its server's address cannot be used.
    """
    match = REMOTE.fullmatch(spec)
    if match is None:
        raise ModelError(f"{spec}: not a remote model; write PROVIDER:NAME or openai:NAME@URL")
    if match["url"] and (objection := url_objection(match["url"])):
        raise ModelError(f"{spec}: the address after @ {objection}")
    url = match["url"] or (config.base_url if match["provider"] == "openai" else None)
    return RemoteSpec(spec, match["provider"], match["name"], url)
