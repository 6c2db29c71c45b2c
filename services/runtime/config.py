"""Settings: flag, then environment, then lakehouse.toml, then the default in code (X10).

A daemon's settings are a frozen dataclass with a sentence under each field. The section of a setting
is the daemon's word: `[storage] max_uploads` in the file, LAKEHOUSE_STORAGE_MAX_UPLOADS outside.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

PREFIX = "LAKEHOUSE_"
FILE_NAME = "lakehouse.toml"
# Read by the command line itself, not a setting of a section.
RESERVED = ("LAKEHOUSE_CONFIG", "LAKEHOUSE_ADDRESS", "LAKEHOUSE_TOKEN_FILE", "LAKEHOUSE_INSTANCE")


class ConfigError(Exception):
    """A setting that cannot be used; stops start-up. The message names the setting and the cure."""

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{setting}: {problem}")
        self.setting = setting
        self.problem = problem


class Settings:
    """The file and the environment, checked against every known section at once."""

    def __init__(
        self,
        sections: Mapping[str, type],
        *,
        file: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
        overrides: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """`overrides` are flags: they win over everything. Raises ConfigError for an unknown key."""
        self._sections = dict(sections)
        self._file = file or {}
        self._environ = environ or {}
        self._overrides = overrides or {}
        self._check_file()
        self._check_environ()

    @classmethod
    def load(
        cls,
        sections: Mapping[str, type],
        *,
        path: Path | None,
        environ: Mapping[str, str],
        overrides: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Settings:
        """Reads `path`, or ./lakehouse.toml when there is one."""
        return cls(sections, file=read_file(path), environ=environ, overrides=overrides)

    def section(self, name: str, config: type[T]) -> T:
        """Builds the dataclass of a section. Raises ConfigError for a value that cannot be used."""
        values: dict[str, Any] = {}
        for field in dataclasses.fields(config):  # type: ignore[arg-type]  # T is a dataclass by contract
            found, value = self._lookup(name, field.name)
            if found:
                values[field.name] = value
        return _build(config, values, name)

    def _lookup(self, section: str, field: str) -> tuple[bool, Any]:
        if field in self._overrides.get(section, {}):
            return True, self._overrides[section][field]
        variable = f"{PREFIX}{section}_{field}".upper()
        if variable in self._environ:
            return True, self._environ[variable]
        table = self._file.get(section, {})
        return (field in table), table.get(field)

    def _check_file(self) -> None:
        for section, table in self._file.items():
            if section not in self._sections:
                raise ConfigError(f"[{section}]", "no such section" + _hint(section, self._sections))
            if not isinstance(table, Mapping):
                raise ConfigError(section, f"must stand inside a section, for example [{next(iter(self._sections))}]")
            known = [field.name for field in dataclasses.fields(self._sections[section])]
            for key in table:
                if key not in known:
                    raise ConfigError(f"{section}.{key}", "no such setting" + _hint(key, known))

    def _check_environ(self) -> None:
        known = set(RESERVED)
        for section, config in self._sections.items():
            known |= {f"{PREFIX}{section}_{field.name}".upper() for field in dataclasses.fields(config)}
        for variable in self._environ:
            if variable.startswith(PREFIX) and variable not in known:
                raise ConfigError(variable, "no such setting" + _hint(variable, known))


def read_file(path: Path | None) -> dict[str, Any]:
    """Parses a settings file; an explicit one must exist."""
    chosen = path or Path(FILE_NAME)
    if not chosen.exists():
        if path is None:
            return {}
        raise ConfigError(str(path), "no such file")
    try:
        return tomllib.loads(chosen.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeError) as error:
        raise ConfigError(str(chosen), f"is not TOML: {error}") from error


def convert(value: Any, target: Any, setting: str) -> Any:
    """Turns a TOML value or an environment text into the type of a field."""
    origin = typing.get_origin(target)
    arguments = typing.get_args(target)
    if origin in (typing.Union, types.UnionType):
        return convert(value, next(a for a in arguments if a is not type(None)), setting)
    if origin is tuple:
        parts = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        if not isinstance(parts, list | tuple):
            raise ConfigError(setting, f"must be a list, is {value!r}")
        return tuple(convert(part, arguments[0], setting) for part in parts)
    if origin in (dict, Mapping) or origin is getattr(typing, "Mapping", None):
        return _convert_table(value, arguments[1], setting)
    if dataclasses.is_dataclass(target):
        return value if isinstance(value, target) else _convert_section(value, target, setting)  # type: ignore[arg-type]
    return _convert_scalar(value, target, setting)


def _build(config: type[T], values: Mapping[str, Any], name: str) -> T:
    """Makes a dataclass from values of the right names; `name` is the setting they stand under."""
    hints = typing.get_type_hints(config)
    converted = {key: convert(value, hints[key], f"{name}.{key}") for key, value in values.items()}
    try:
        return config(**converted)
    except ValueError as error:
        field_name, separator, problem = str(error).partition(": ")
        setting = f"{name}.{field_name}" if separator else name
        raise ConfigError(setting, problem or str(error)) from error


def _convert_section(value: Any, target: Any, setting: str) -> Any:
    """A section inside a section, such as [embed.models.nomic]: a dataclass of its own."""
    if not isinstance(value, Mapping):
        raise ConfigError(setting, f"must be a section, for example [{setting}], is {value!r}")
    fields = dataclasses.fields(target)
    known = [field.name for field in fields]
    for key in value:
        if key not in known:
            raise ConfigError(f"{setting}.{key}", "no such setting" + _hint(key, known))
    for field in fields:
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and field.name not in value:
            raise ConfigError(f"{setting}.{field.name}", "is required")
    return _build(target, value, setting)


def _convert_table(value: Any, inner: Any, setting: str) -> dict[str, Any]:
    if isinstance(value, str):
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        if not all(separator for _, separator, _ in pairs):
            raise ConfigError(setting, "must look like key=value,key=value")
        value = {key.strip(): item.strip() for key, _, item in pairs}
    if not isinstance(value, Mapping):
        raise ConfigError(setting, f"must be a table, is {value!r}")
    return {str(key): convert(item, inner, f"{setting}.{key}") for key, item in value.items()}


def _convert_scalar(value: Any, target: Any, setting: str) -> Any:
    if target is bool:
        word = str(value).strip().lower()
        chosen = True if word in ("true", "1", "yes", "on") else False if word in ("false", "0", "no", "off") else None
        if chosen is None:
            raise ConfigError(setting, f"must be true or false, is {value!r}")
        return chosen
    if isinstance(value, bool) or (target is str and not isinstance(value, str)):
        raise ConfigError(setting, f"must be {_word(target)}, is {value!r}")
    if isinstance(value, str) and target in (int, float):
        value = value.replace("_", "")
    if target is int and isinstance(value, float) and not value.is_integer():
        raise ConfigError(setting, f"must be a whole number, is {value!r}")
    try:
        return Path(value).expanduser() if target is Path else target(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(setting, f"must be {_word(target)}, is {value!r}") from error


def _word(target: Any) -> str:
    words: dict[Any, str] = {str: "text", int: "a whole number", float: "a number", Path: "a path"}
    return words.get(target) or str(target.__name__)


def _hint(word: str, known: typing.Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
