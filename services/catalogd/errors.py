"""The errors that catalogd adds to the model."""

from __future__ import annotations

from services.runtime.errors import AlreadyExists, Internal, InvalidArgument, NotFound, TooLarge


class DatasetNotFound(NotFound):
    """No dataset has this name; the error names the nearest there is."""

    reason = "DATASET_NOT_FOUND"


class SchemaConflict(AlreadyExists):
    """The dataset has another schema fingerprint; nothing changed (C1)."""

    reason = "SCHEMA_CONFLICT"


class NameConflict(AlreadyExists):
    """Another dataset has this name but for case (X14)."""

    reason = "NAME_CONFLICT"


class ObjectConflict(InvalidArgument):
    """One object is listed with two different descriptions."""

    reason = "OBJECT_CONFLICT"


class TooManyRows(TooLarge):
    """A dataset can have at most 2,147,483,647 rows."""

    reason = "TOO_MANY_ROWS"


class ManifestDamaged(Internal):
    """A stored manifest cannot be read; it is reported and left out (C3)."""

    reason = "MANIFEST_DAMAGED"
