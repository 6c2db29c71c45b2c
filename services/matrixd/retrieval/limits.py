"""How near a remembered question must be to count, for each embedding model (M6, M7).

The limits belong to the model: how far a paraphrase lies differs from model to model. For wordllama
`bench/playbook_limits.py` measures, for pairs of questions: paraphrases 0.08-0.65 apart, nine in ten
within 0.40; pairs that differ in the one thing that decides 0.03-0.73, eight in ten within 0.40;
questions of the same form about something else 0.56 and more; unrelated ones 0.97 and more.

So the limits keep out other subjects, and nothing else: no distance separates a paraphrase from the
same sentence with another role, city or number, which is often nearer. That is the task of the
constraint guard (`guard.py`), the role gate, the metadata filter and the judge. Where none of them is
used and a wrong answer is dear, set a lower inject limit and accept that fewer paraphrases profit: at
0.20 three in ten, beside half of the pairs that should not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from services.matrixd.playbooks.gates import Limits

UNKNOWN = Limits(boost=0.5, inject=0.20)
"""For models that nobody has measured: the values that served a 768-d sentence model well."""

MEASURED: Mapping[str, Limits] = {
    "wordllama": Limits(boost=0.50, inject=0.40),
}


class LimitTable:
    """The limits of every model: measured ones, replaced where the settings say otherwise."""

    def __init__(self, boost: Mapping[str, float], inject: Mapping[str, float]) -> None:
        """Both map a model's id to a cosine distance."""
        self._limits = dict(MEASURED)
        for model in {*boost, *inject}:
            base = MEASURED.get(model, UNKNOWN)
            self._limits[model] = Limits(boost=boost.get(model, base.boost), inject=inject.get(model, base.inject))

    def of(self, model: str, *, boost: float | None = None, inject: float | None = None) -> Limits:
        """The limits for one search: what it asks for, else those of the model."""
        limits = self._limits.get(model, UNKNOWN)
        if boost is not None:
            limits = replace(limits, boost=boost)
        if inject is not None:
            limits = replace(limits, inject=inject)
        return limits
