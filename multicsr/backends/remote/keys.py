"""API keys: from the environment or the keyring, never from a configuration, and never told."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping

from pydantic import SecretStr

from multicsr.backends.remote.spec import RemoteSpec
from multicsr.errors import ModelError

SERVICE = "multicsr"  # under which the keyring holds a provider's key
NEEDED = ("openai", "anthropic")
NO_KEY = SecretStr("none")  # for a server that asks for none
HIDDEN = "[key]"
SHORTEST = 8  # a shorter "key" is a placeholder, and may be a part of words


class Key:
    """A model's key, if it has one, with where it is from."""

    def __init__(self, value: SecretStr | None, variable: str, source: str) -> None:
        self.value, self.variable, self.source = value, variable, source

    def hide(self, text: str) -> str:
        """The text without the key, whoever put it there."""
        secret = self.value.get_secret_value() if self.value else ""
        return text.replace(secret, HIDDEN) if len(secret) >= SHORTEST else text


def find_key(spec: RemoteSpec, variable: str | None, environ: Mapping[str, str] | None = None) -> Key:
    """The key for a model, from the variable, else the provider's own variable, else the keyring.

    Raises:
        ModelError: there is none where one is needed; it says where to put it.
    """
    environ = os.environ if environ is None else environ
    name = variable or f"{spec.provider.upper().replace('-', '_')}_API_KEY"
    if found := environ.get(name):
        return Key(SecretStr(found), name, name)
    if variable is not None:
        raise ModelError(f"{spec.typed}: remote.api_key_env = {variable}: no such environment variable is set")
    if found := _in_keyring(spec.provider):
        return Key(SecretStr(found), name, "the keyring")
    if spec.provider == "openai" and spec.url:
        return Key(NO_KEY, name, "nowhere")
    if spec.provider in NEEDED:
        raise ModelError(
            f"{spec.typed}: no API key; set the environment variable {name}, or store the key with "
            f"`keyring set {SERVICE} {spec.provider}` (pip install 'multicsr[keyring]')"
        )
    return Key(None, name, "nowhere")  # LangChain knows where such a provider's is


def _in_keyring(provider: str) -> str | None:
    if importlib.util.find_spec("keyring") is None:
        return None
    import keyring
    from keyring.errors import KeyringError

    try:
        return keyring.get_password(SERVICE, provider)
    except KeyringError:  # no keyring on this machine, or a locked one
        return None
