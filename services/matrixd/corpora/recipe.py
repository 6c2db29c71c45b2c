"""How a corpus is made, kept so that it can be made again: by a refresh, without the request that built it (M11)."""

from __future__ import annotations

from typing import Any

from services.matrixd.corpora.corpora import CorpusInfo
from services.matrixd.corpora.plan import BuildRequest, Plan

_TUPLES = ("text_columns", "metadata_columns")


def recipe_of(plan: Plan, model: str) -> BuildRequest:
    """The request that makes the same plan again, with the metadata columns and the model it came to mean."""
    return BuildRequest(
        corpus=plan.corpus,
        dataset=plan.dataset,
        id_column=plan.id_column,
        text_columns=() if plan.template else tuple(plan.text.columns),
        template=plan.template,
        metadata_columns=plan.metadata_columns,
        id_prefix=plan.id_prefix,
        batch_size=plan.batch_size,
        model=model,
        chunk_size=plan.chunking.size if plan.chunking else None,
        chunk_overlap=plan.chunking.overlap if plan.chunking else None,
    )


def decode_recipe(values: dict[str, Any]) -> BuildRequest:
    """The recipe in such JSON. Raises TypeError for anything else."""
    lists = {name: tuple(value) for name, value in values.items() if name in _TUPLES}
    return BuildRequest(**{**values, **lists})


def first_recipe(info: CorpusInfo) -> BuildRequest | None:
    """The recipe that a corpus was created with, from the properties of its index; None where they do not tell."""
    values = info.properties
    if "template" not in values:
        return None  # of an earlier release, which did not keep templates
    return BuildRequest(
        corpus=info.name,
        dataset=info.dataset,
        id_column=values["id_column"],
        text_columns=() if values["template"] else tuple(values["text_columns"]),
        template=values["template"],
        metadata_columns=tuple(values["metadata_columns"]),
        id_prefix=values["id_prefix"],
        model=info.model,
        chunk_size=_whole(values["chunk_size"]),
        chunk_overlap=_whole(values["chunk_overlap"]),
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
