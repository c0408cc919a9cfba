"""Where keys come from, and that they go nowhere."""

from __future__ import annotations

from collections.abc import Iterator

import keyring
import keyring.backend
import pytest

from multicsr.backends.remote.keys import find_key
from multicsr.backends.remote.model import RemoteModel
from multicsr.backends.remote.spec import parse_spec
from multicsr.config import Config, RemoteConfig
from multicsr.configsources import load_config
from multicsr.configtext import commented_yaml
from multicsr.errors import ConfigError, ModelError, RemoteError
from multicsr.naming import is_remote
from tests.servers import KEY, Server


class Ring(keyring.backend.KeyringBackend):
    """A keyring in memory."""

    priority = -1  # never chosen by itself

    def __init__(self, held: str | None) -> None:
        super().__init__()
        self.held = {("multicsr", "openai"): held}

    def get_password(self, service: str, username: str) -> str | None:
        return self.held.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.held[service, username] = password


@pytest.fixture(params=[KEY])
def ring(request: pytest.FixtureRequest) -> Iterator[None]:
    former = keyring.get_keyring()
    keyring.set_keyring(Ring(request.param))
    yield
    keyring.set_keyring(former)


def key(spec: str, variable: str | None = None, **environ: str) -> tuple[str | None, str]:
    found = find_key(parse_spec(spec, RemoteConfig()), variable, environ)
    return found.value.get_secret_value() if found.value else None, found.source


def test_the_environment_comes_before_the_keyring(ring: None) -> None:
    assert key("openai:x", OPENAI_API_KEY="sk-other") == ("sk-other", "OPENAI_API_KEY")
    assert key("openai:x", "MINE", MINE="sk-mine", OPENAI_API_KEY="no") == ("sk-mine", "MINE")
    assert key("openai:x") == (KEY, "the keyring")
    assert key("mistralai:x", MISTRALAI_API_KEY="k") == ("k", "MISTRALAI_API_KEY")


@pytest.mark.parametrize("ring", [None], indirect=True)
def test_without_a_key_it_is_said_where_to_put_one(ring: None) -> None:
    with pytest.raises(ModelError, match=r"^openai:x: no API key; set .* OPENAI_API_KEY, or store .*keyring set mult"):
        key("openai:x")
    with pytest.raises(ModelError, match=r"remote\.api_key_env = MINE: no such environment variable"):
        key("openai:x", "MINE", OPENAI_API_KEY="k")
    assert key("openai:x@http://127.0.0.1:1/v1")[1] == "nowhere", "a server of one's own may need none"
    assert key("ollama:x") == (None, "nowhere")


def test_a_key_that_is_refused_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a-wrong-one-0123456789")
    with Server(lambda body: "x", key=KEY) as server:
        with pytest.raises(RemoteError, match="environment variable OPENAI_API_KEY") as caught:
            RemoteModel.open(f"openai:x@{server.url}")
        assert "Incorrect API key provided: Bearer [key]" in str(caught.value)
        assert "sk-a-wrong" not in f"{caught.value}{caught.value.__cause__}"
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "options",
    [{"api_key": "x"}, {"default_headers": {"Authorization": "x"}}, {"openai_api_key": "x"}, {"auth_token": "x"}],
)
def test_a_configuration_holds_no_secret(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"looks like a secret, and a configuration is stored"):
        load_config(flags={"remote.options": options}, environ={})
    load_config(flags={"remote.options": {"max_tokens": 5, "reasoning_effort": "low"}}, environ={})


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("127.0.0.1:8000", "must be the address of a server"),
        ("ftp://x/v1", "must be the address of a server"),
        ("https://me:secret@host/v1", "must not hold a name, a password or a query"),
        ("https://host/v1?key=secret", "must not hold a name, a password or a query"),
    ],
)
def test_an_address_holds_no_secret(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config(flags={"remote.base_url": url}, environ={})
    if url.startswith("http"):
        with pytest.raises(ModelError, match=said):
            parse_spec(f"openai:x@{url}", RemoteConfig())


def test_names_of_models() -> None:
    there = RemoteConfig(base_url="http://there/v1")
    assert parse_spec("openai:a", there).url == "http://there/v1"
    assert parse_spec("anthropic:a", there).url is None, "which would get another provider's key"
    assert parse_spec("openai:org/a@b@http://here/v1", there)[1:] == ("openai", "org/a@b", "http://here/v1")
    assert parse_spec("ollama:llama3:8b", there)[1:] == ("ollama", "llama3:8b", None)
    local = ("bundled", "hf:google/flan-t5-xl", "model.gguf", "./x.gguf", "C:\\x.gguf", "http://here/v1")
    assert not any(map(is_remote, local))


def test_a_configuration_with_all_of_it_reads_back(tmp_path: object) -> None:
    flags = {
        "remote.options": {"reasoning_effort": "low"},
        "cost.models": {"openai:a.b@http://h/v1": {"input_usd_per_mtok": 1, "output_usd_per_mtok": 2}},
        "budget.usd": 3,
    }
    config = load_config(flags=flags, environ={})
    path = tmp_path / "c.yaml"  # type: ignore[operator]
    path.write_text(commented_yaml(config), "utf-8")
    assert load_config(path, environ={}) == config != Config()
    price = config.cost.price("openai:a.b@http://h/v1")
    assert price is not None
    assert price.output_usd_per_mtok == 2
    assert config.cost.price("openai:other") is None
