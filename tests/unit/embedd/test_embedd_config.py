"""Settings of embedd: what cannot be used stops start-up by its name."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from services.embedd.config import EmbedConfig, ModelConfig
from services.runtime.config import ConfigError, Settings

FILE = """
[embed]
default_model = "nomic"

[embed.models.nomic]
provider = "ollama"
model = "nomic-embed-text"
url = "http://127.0.0.1:11434"
dimension = 768

[embed.models.small]
provider = "openai"
model = "text-embedding-3-small"
url = "https://api.example.com/v1"
key_env = "OPENAI_API_KEY"
normalized = false
"""


def load(file: dict[str, Any]) -> EmbedConfig:
    return Settings({"embed": EmbedConfig}, file=file).section("embed", EmbedConfig)


def model(**changed: Any) -> dict[str, Any]:
    return {"provider": "ollama", "model": "m", "url": "http://127.0.0.1:11434"} | changed


@pytest.mark.requirement("X10")
def test_models_of_servers_are_sections() -> None:
    config = load(tomllib.loads(FILE))
    assert config.default_model == "nomic"
    assert config.models == {
        "nomic": ModelConfig(
            provider="ollama", model="nomic-embed-text", url="http://127.0.0.1:11434", dimension=768, normalized=True
        ),
        "small": ModelConfig(
            provider="openai",
            model="text-embedding-3-small",
            url="https://api.example.com/v1",
            key_env="OPENAI_API_KEY",
            normalized=False,
        ),
    }


@pytest.mark.parametrize(
    ("changed", "setting"),
    [
        ({"provider": "hash"}, "provider"),
        ({"model": " "}, "model"),
        ({"url": "127.0.0.1:11434"}, "url"),
        ({"url": "localhost"}, "url"),
        ({"url": "ftp://host"}, "url"),
        ({"url": "http://"}, "url"),
        ({"url": "http://host:port"}, "url"),
        ({"url": "http://host:99999"}, "url"),
        ({"url": "http://[::1"}, "url"),
        ({"url": "http://host/v1?key=1"}, "url"),
        ({"url": "http://host/v1#x"}, "url"),
        ({"url": "http://ho st"}, "url"),
        ({"key_env": "not a name"}, "key_env"),
        ({"dimension": -1}, "dimension"),
        ({"dimension": "big"}, "dimension"),
        ({"batch_texts": 0}, "batch_texts"),
        ({"calls": 0}, "calls"),
        ({"attempts": 0}, "attempts"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"timeout_seconds": float("nan")}, "timeout_seconds"),
        ({"normalised": True}, "normalised"),
    ],
)
@pytest.mark.requirement("X10")
def test_a_model_that_cannot_be_used_is_named(changed: dict[str, Any], setting: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load({"embed": {"models": {"mine": model(**changed)}}})
    assert raised.value.setting == f"embed.models.mine.{setting}"


@pytest.mark.parametrize(
    ("embed", "setting"),
    [
        ({"default_model": "gpt"}, "default_model"),
        ({"models": {"hash": model()}}, "models.hash"),
        ({"models": {"wordllama": model()}}, "models.wordllama"),
        ({"models": {"a b": model()}}, "models.a b"),
        ({"models": {"": model()}}, "models."),
        ({"cache_size": -1}, "cache_size"),
        ({"deadline_seconds": 0}, "deadline_seconds"),
        ({"threads": 0}, "threads"),
        ({"hash_dimension": 0}, "hash_dimension"),
    ],
)
@pytest.mark.requirement("X10")
def test_a_setting_that_cannot_be_used_is_named(embed: dict[str, Any], setting: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load({"embed": embed})
    assert raised.value.setting == f"embed.{setting}"


@pytest.mark.parametrize(
    "changed",
    [
        {"url": "http://user:hunter2@host"},
        {"url": "hunter2://host"},
        {"url": "http://host:hunter2"},
        {"url": "http://host/?key=hunter2"},
        {"key_env": "sk-hunter2"},
    ],
)
@pytest.mark.requirement("X9")
def test_a_refused_setting_that_may_hold_a_secret_is_not_shown(changed: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as raised:
        load({"embed": {"models": {"mine": model(**changed)}}})
    assert "hunter2" not in str(raised.value)
    assert raised.value.__cause__ is None or "hunter2" not in str(raised.value.__cause__)
