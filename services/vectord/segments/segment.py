"""What a search may ask of a segment, hot or sealed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from services.vectord.segments.admitted import Admitted
from services.vectord.segments.fields import Fields, Texts
from services.vectord.segments.metric import Floats, Metric, Rows
from services.vectord.tree.items import Norms


class Segment(Protocol):
    """Rows with an id, a vector, its former length and metadata; readers never see one change."""

    @property
    def metric(self) -> Metric:
        """How scores become distances."""
        ...

    @property
    def ids(self) -> Sequence[str]:
        """The id of each row."""
        ...

    @property
    def metadata(self) -> Texts:
        """The serialised metadata of each row."""
        ...

    @property
    def fields(self) -> Fields:
        """The metadata as columns."""
        ...

    @property
    def count(self) -> int:
        """Rows, dead ones too."""
        ...

    def row(self, item_id: str, count: int) -> int | None:
        """The last of the first `count` rows with this id, alive or dead."""
        ...

    def vectors(self, rows: Rows) -> Floats:
        """Copies of some vectors as they are kept, shape (n, dimension)."""
        ...

    def norms(self, rows: Rows) -> Norms:
        """The lengths that some vectors had, shape (n,)."""
        ...

    def nearest(
        self, query: Floats, limit: int, *, count: int, admitted: Admitted | None, ef: int | None, exact: bool
    ) -> Rows:
        """At least the `limit` nearest of the admitted rows (None: the first `count`), unordered.

        `limit` must not exceed the rows admitted.
        """
        ...

    def score(self, query: Floats, rows: Rows) -> tuple[Rows, Floats]:
        """Some rows, in any order, with their scores: what `kernel.Kernel.score` says."""
        ...

    def cost(self, limit: int, ef: int | None, count: int) -> int:
        """What a search over the first `count` rows costs, in scanned rows."""
        ...
