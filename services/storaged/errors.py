"""The errors that storaged adds to the model."""

from __future__ import annotations

from services.runtime.errors import (
    AlreadyExists,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    TooLarge,
    Unavailable,
)


class BucketNotFound(NotFound):
    """No bucket has this name; the message lists those there are (S7)."""

    reason = "BUCKET_NOT_FOUND"


class BucketExists(AlreadyExists):
    """A bucket has this name, perhaps in another case (X14)."""

    reason = "BUCKET_EXISTS"


class BucketProtected(PermissionDenied):
    """The bucket can never be removed (S7)."""

    reason = "BUCKET_PROTECTED"


class BucketNotEmpty(FailedPrecondition):
    """Only a bucket without objects can be removed."""

    reason = "BUCKET_NOT_EMPTY"


class BackendNotConfigured(InvalidArgument):
    """The back end is in the contract, but this instance was not given one."""

    reason = "BACKEND_NOT_CONFIGURED"


class ObjectNotFound(NotFound):
    """The bucket has no object of this key."""

    reason = "OBJECT_NOT_FOUND"


class ObjectExists(AlreadyExists):
    """A create-only upload found an object of this key (S6)."""

    reason = "OBJECT_EXISTS"


class ObjectTooLarge(TooLarge):
    """The object is over the cap of its prefix (S4)."""

    reason = "OBJECT_TOO_LARGE"


class ObjectDamaged(Internal):
    """The stored bytes are not those that were acknowledged (X11)."""

    reason = "OBJECT_DAMAGED"


class SizeMismatch(InvalidArgument):
    """An upload brought more or fewer bytes than it declared (S4)."""

    reason = "SIZE_MISMATCH"


class RangeNotSatisfiable(InvalidArgument):
    """A range begins behind the end of the object."""

    reason = "RANGE_NOT_SATISFIABLE"


class TooManyUploads(Unavailable):
    """As many uploads of clients run as are allowed (S5)."""

    reason = "TOO_MANY_UPLOADS"
    retry_after = 5


class StorageFull(Unavailable):
    """The file system has no room for the object; nothing of it remains."""

    reason = "STORAGE_FULL"
