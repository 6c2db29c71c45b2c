"""Compares the REST surface with the released one: nothing that clients rely on may vanish (X1).

buf sees messages and methods, not paths, parameters and bodies. Both sides are OpenAPI documents.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


def losses(released: Json, current: Json) -> list[str]:
    """Returns a sentence for each thing of `released` that `current` lacks, or newly demands."""
    return sorted(set(_losses(released, current)))


def _losses(released: Json, current: Json) -> Iterator[str]:
    bodies, answers = (_Schemas(released, current, demands) for demands in (True, False))
    paths = {_anonymous(path): operations for path, operations in current["paths"].items()}
    for path, operations in released["paths"].items():
        for verb, old in operations.items():
            where, new = f"{verb.upper()} {path}", paths.get(_anonymous(path), {}).get(verb)
            if new is None:
                yield f"{where} is gone"
                continue
            yield from _parameter_losses(where, old, new)
            asked = _schema(old.get("requestBody", {})), _schema(new.get("requestBody", {}))
            answered = _schema(old["responses"]["200"]), _schema(new["responses"]["200"])
            yield from bodies.losses(f"{where} body", *asked)
            yield from answers.losses(f"{where} answer", *answered)


def _anonymous(path: str) -> str:
    """A path whose variables have no names: those are no part of what clients send."""
    return re.sub(r"\{[^}]*\}", "{}", path)


def _schema(holder: Json) -> Json:
    media: list[Json] = list(holder.get("content", {}).values())
    return media[0]["schema"] if media else {}


def _parameter_losses(where: str, old: Json, new: Json) -> Iterator[str]:
    before, after = (
        {parameter["name"]: parameter for parameter in side.get("parameters", []) if parameter["in"] == "query"}
        for side in (old, new)
    )
    for name, parameter in before.items():
        if name not in after:
            yield f"{where} parameter {name} is gone"
        else:
            yield from _word_losses(f"{where} parameter {name}", parameter["schema"], after[name]["schema"])
    for name, parameter in after.items():
        if parameter.get("required") and not before.get(name, {}).get("required"):
            yield f"{where} parameter {name} is now required"


@dataclass(frozen=True, slots=True)
class _Schemas:
    """Compares two schemas with all that they refer to."""

    released: Json
    current: Json
    demands: bool
    """Whether newly required fields count, as they do in requests."""

    def losses(self, where: str, old: Json, new: Json, seen: tuple[str, ...] = ()) -> Iterator[str]:
        """Yields what `new` lacks of `old`. `seen` are the references on the way here: schemas may be recursive."""
        if "$ref" in old:
            if old["$ref"] in seen:
                return
            seen = (*seen, old["$ref"])
        old, new = _resolved(old, self.released), _resolved(new, self.current)
        if old.get("type") != new.get("type"):
            yield f"{where} was {old.get('type', 'anything')} and is {new.get('type', 'anything')}"
            return
        yield from _word_losses(where, old, new)
        for name in set(new.get("required", [])) - set(old.get("required", [])) if self.demands else ():
            yield f"{where} field {name} is now required"
        after = dict(_parts(new))
        for name, part in _parts(old):
            if name not in after:
                yield f"{where}{name} is gone"
            else:
                yield from self.losses(where + name, part, after[name], seen)


def _parts(schema: Json) -> Iterator[tuple[str, Json]]:
    for name, field in schema.get("properties", {}).items():
        yield f" field {name}", field
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            yield f" {name}", schema[name]


def _resolved(schema: Json, document: Json) -> Json:
    if "$ref" not in schema:
        return schema
    target: Json = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return target


def _word_losses(where: str, old: Json, new: Json) -> Iterator[str]:
    for word in old.get("enum", []):
        if "enum" in new and word not in new["enum"]:
            yield f"{where} no longer knows {word!r}"
