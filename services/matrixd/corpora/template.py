"""The text of a row: columns joined by line ends, or a template with `{column}` (M11)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.matrixd.corpora.values import as_text
from services.runtime.errors import InvalidArgument

_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a template: literal text, or the name of a column."""

    text: str
    column: bool


@dataclass(frozen=True, slots=True)
class Template:
    """How a row becomes a text."""

    parts: Sequence[Part]

    @property
    def columns(self) -> list[str]:
        """The columns it needs, each once."""
        return list(dict.fromkeys(part.text for part in self.parts if part.column))

    def render(self, row: Mapping[str, Any]) -> str:
        """The text of a row, without outer white space; null is nothing. 1 us a part."""
        texts = [as_text(row[part.text]) if part.column else part.text for part in self.parts]
        return "".join(texts).strip()


@dataclass(frozen=True, slots=True)
class Columns:
    """A row's text as the values of some columns, one on each line."""

    columns: Sequence[str]

    def render(self, row: Mapping[str, Any]) -> str:
        """The text of a row; columns that are null or blank have no line. 1 us a column."""
        texts = [as_text(row[column]).strip() for column in self.columns]
        return "\n".join(text for text in texts if text)


TextSource = Template | Columns


def parse_template(template: str) -> Template:
    """Reads `{column}`, and `{{` and `}}` for braces. Raises InvalidArgument for a brace without a partner."""
    parts: list[Part] = []
    for match in _PART.finditer(template):
        token, column = match.group(), match.group(1)
        if column is not None:
            if not column.strip():
                raise InvalidArgument.of("template", "has a '{}' without a column's name")
            parts.append(Part(column.strip(), column=True))
        elif token in ("{", "}"):
            raise InvalidArgument.of(
                "template", f"has a {token!r} alone at {match.start()}: write {token * 2!r} for a brace"
            )
        else:
            parts.append(Part(token[0] if token in ("{{", "}}") else token, column=False))
    if not any(part.column for part in parts):
        raise InvalidArgument.of("template", "names no column: write {column} where its value belongs")
    return Template(parts)
