"""Settings: flag, environment, file, default; and what cannot be used stops start-up by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from services.runtime.config import ConfigError, Settings, read_file


@dataclass(frozen=True)
class Inner:
    url: str
    size: int = 7

    def __post_init__(self) -> None:
        if not self.url.startswith("http"):
            raise ValueError("url: must begin with http")


@dataclass(frozen=True)
class Sample:
    count: int = 1
    share: float = 0.5
    on: bool = False
    words: tuple[str, ...] = ()
    place: Path = Path("here")
    token: str | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    inner: Mapping[str, Inner] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError("count: must not be negative")


SECTIONS = {"sample": Sample}


def load(file: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None, **flags: Any) -> Sample:
    settings = Settings(SECTIONS, file=file, environ=environ, overrides={"sample": flags})
    return settings.section("sample", Sample)


def test_each_source_wins_over_the_next() -> None:
    file, environ = {"sample": {"count": 2}}, {"LAKEHOUSE_SAMPLE_COUNT": "3"}
    assert load().count == 1
    assert load(file).count == 2
    assert load(file, environ).count == 3
    assert load(file, environ, count=4).count == 4


def test_texts_become_the_types_of_the_fields() -> None:
    environ = {
        "LAKEHOUSE_SAMPLE_SHARE": "0.25",
        "LAKEHOUSE_SAMPLE_ON": "yes",
        "LAKEHOUSE_SAMPLE_WORDS": "a, b",
        "LAKEHOUSE_SAMPLE_PLACE": "/there",
        "LAKEHOUSE_SAMPLE_TOKEN": "t",
        "LAKEHOUSE_SAMPLE_LIMITS": "x=1.5,y=2",
    }
    sample = load(environ=environ)
    assert (sample.share, sample.on, sample.words, sample.place) == (0.25, True, ("a", "b"), Path("/there"))
    assert (sample.token, sample.limits) == ("t", {"x": 1.5, "y": 2.0})


def test_sections_inside_a_section_become_dataclasses_of_their_own() -> None:
    sample = load({"sample": {"inner": {"a": {"url": "http://a", "size": "8"}, "b": {"url": "http://b"}}}})
    assert sample.inner == {"a": Inner("http://a", 8), "b": Inner("http://b")}
    assert load(inner={"a": Inner("http://a")}).inner == {"a": Inner("http://a")}


@pytest.mark.parametrize(
    ("file", "environ", "setting"),
    [
        ({"sampel": {}}, {}, "[sampel]"),
        ({"sample": {"cuont": 1}}, {}, "sample.cuont"),
        ({}, {"LAKEHOUSE_SAMPLE_CUONT": "1"}, "LAKEHOUSE_SAMPLE_CUONT"),
        ({"sample": {"count": "many"}}, {}, "sample.count"),
        ({"sample": {"count": True}}, {}, "sample.count"),
        ({"sample": {"count": 1.5}}, {}, "sample.count"),
        ({"sample": {"on": "perhaps"}}, {}, "sample.on"),
        ({"sample": {"words": 3}}, {}, "sample.words"),
        ({"sample": {"limits": {"x": "far"}}}, {}, "sample.limits.x"),
        ({"sample": {"count": -1}}, {}, "sample.count"),
        ({"count": 3}, {}, "[count]"),
        ({"sample": {"inner": 3}}, {}, "sample.inner"),
        ({"sample": {"inner": {"a": 3}}}, {}, "sample.inner.a"),
        ({"sample": {"inner": {"a": {"size": 3}}}}, {}, "sample.inner.a.url"),
        ({"sample": {"inner": {"a": {"url": "http", "sise": 3}}}}, {}, "sample.inner.a.sise"),
        ({"sample": {"inner": {"a": {"url": "http", "size": "big"}}}}, {}, "sample.inner.a.size"),
        ({"sample": {"inner": {"a": {"url": "ftp"}}}}, {}, "sample.inner.a.url"),
        ({}, {"LAKEHOUSE_SAMPLE_INNER": "a=b"}, "sample.inner.a"),
    ],
)
def test_what_cannot_be_used_is_named(file: Mapping[str, Any], environ: Mapping[str, str], setting: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(file, environ)
    assert caught.value.setting == setting


def test_a_near_miss_is_suggested() -> None:
    with pytest.raises(ConfigError, match="did you mean 'count'"):
        load({"sample": {"cuont": 1}})


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "lakehouse.toml"
    path.write_text("[sample\n", encoding="utf-8")
    with pytest.raises(ConfigError):
        read_file(path)
    with pytest.raises(ConfigError):
        read_file(tmp_path / "missing.toml")
