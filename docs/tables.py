"""Writes docs/errors.md and docs/settings.md from the code that they describe. Run by `make gen`."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import itertools
import pkgutil
import typing
from pathlib import Path
from typing import Any

import services
from services.runtime.config import PREFIX
from services.runtime.errors import ServiceError, all_errors
from services.supervisor.stack import ALL_SECTIONS

HERE = Path(__file__).parent

# Envoy's map from gRPC codes to HTTP statuses.
HTTP = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "INTERNAL": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


def main() -> None:
    """Writes both files."""
    (HERE / "errors.md").write_text(errors(), encoding="utf-8")
    (HERE / "settings.md").write_text(settings(), encoding="utf-8")


def errors() -> str:
    """The page of all reasons."""
    rows = {
        (error.reason, error.code.name, _http(error), _where(error), _sentence(error)) for error in _loaded_errors()
    }
    lines = [
        "# Errors",
        "",
        "Every error is a gRPC status with one `google.rpc.ErrorInfo` (domain `lakehouse`, a reason from this",
        "table, and metadata), and a `google.rpc.BadRequest` when it is about fields. REST shows the same as JSON.",
        "Programs decide by reason; the text is for people. The reasons that the gateway itself gives are in",
        "[gateway/README.md](../gateway/README.md). This page is generated: `make gen`.",
        "",
        "| reason | gRPC code | HTTP | from | meaning |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| `{reason}` | {code} | {http} | {where} | {text} |" for reason, code, http, where, text in sorted(rows)
    ]
    return "\n".join(lines) + "\n"


def settings() -> str:
    """The page of all settings."""
    lines = [
        "# Settings",
        "",
        "A flag wins over the environment, that over `lakehouse.toml`, that over the default. In the file a",
        "setting stands in its section (`[query]`, then `row_limit = 5000`); its variable is the section and the",
        f"name in capitals (`{PREFIX}QUERY_ROW_LIMIT`). Lists are separated by commas, tables are",
        "`key=value,key=value`. An unknown name stops start-up. This page is generated: `make gen`.",
    ]
    for section, config in ALL_SECTIONS.items():
        lines += _section(section, config)
        for field, inner in _nested(config):
            lines += _section(f"{section}.{field}.<id>", inner)
    return "\n".join(lines) + "\n"


def _section(name: str, config: type[Any]) -> list[str]:
    lines = ["", f"## [{name}]", "", (inspect.getdoc(config) or "").partition("\n")[0], ""]
    fields = dataclasses.fields(config)
    if not fields:
        return [*lines, "No settings yet."]
    comments = _field_comments(config)
    rows = [f"| `{field.name}` | {_default(field)} | {comments[field.name]} |" for field in fields]
    return [*lines, "| name | default | meaning |", "|---|---|---|", *rows]


def _nested(config: type[Any]) -> list[tuple[str, type[Any]]]:
    """The fields whose values are sections of their own."""
    found = []
    for name, hint in typing.get_type_hints(config).items():
        found += [(name, argument) for argument in typing.get_args(hint) if dataclasses.is_dataclass(argument)]
    return [(name, argument) for name, argument in found if isinstance(argument, type)]


def _loaded_errors() -> set[type[ServiceError]]:
    for module in pkgutil.walk_packages(services.__path__, "services."):
        importlib.import_module(module.name)
    importlib.import_module("gateway.envoy")
    return {error for error in all_errors() if error.__module__.startswith(("services.", "gateway."))}


def _http(error: type[ServiceError]) -> int:
    return error.http_status or HTTP[error.code.name]


def _where(error: type[ServiceError]) -> str:
    parts = error.__module__.split(".")
    return parts[1] if parts[0] == "services" else parts[0]


def _sentence(error: type[ServiceError]) -> str:
    own = error.__dict__.get("__doc__")
    text = inspect.cleandoc(own).partition("\n\n")[0] if own else "Any other error of this code."
    return " ".join(text.split()).replace("|", "\\|")


def _default(field: dataclasses.Field[Any]) -> str:
    value = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
    if value is dataclasses.MISSING:
        return "(required)"
    if value is None or value in ((), {}, ""):
        return "(none)"
    shown = str(value).replace(str(Path.home()), "~") if isinstance(value, Path) else repr(value)
    return "`" + shown.replace("|", "\\|") + "`"


def _field_comments(config: type) -> dict[str, str]:
    """The sentence that stands under each field in the source."""
    tree = ast.parse(inspect.cleandoc(inspect.getsource(config)))
    body = tree.body[0].body  # type: ignore[attr-defined]  # the one statement is the class
    comments = {}
    for field, comment in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(comment, ast.Expr):
            comments[field.target.id] = " ".join(str(ast.literal_eval(comment.value)).split()).replace("|", "\\|")
    return comments


if __name__ == "__main__":
    main()
