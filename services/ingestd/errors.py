"""What can be wrong with a file or with the way it was sent; each has its own reason.

Rows are counted as a spreadsheet shows them: the header is row 1, blank lines do not count.
"""

from __future__ import annotations

from services.runtime.errors import InvalidArgument, TooLarge, Unavailable, Unimplemented


class MissingName(InvalidArgument):
    """The request does not say which dataset to write."""

    reason = "MISSING_NAME"


class BrokenMultipart(InvalidArgument):
    """The body calls itself a multipart form and is none, or is cut short."""

    reason = "BROKEN_MULTIPART"


class MissingFile(InvalidArgument):
    """A multipart form without the field `file`."""

    reason = "MISSING_FILE"


class UploadSizeMismatch(InvalidArgument):
    """Fewer or more bytes of a file arrived than were announced."""

    reason = "UPLOAD_SIZE_MISMATCH"


class FileTooLarge(TooLarge):
    """The file is over `max_ingest_bytes`."""

    reason = "FILE_TOO_LARGE"


class FormatUnimplemented(Unimplemented):
    """A format that the contract names and this release does not read."""

    reason = "FORMAT_UNIMPLEMENTED"


class EmptyFile(InvalidArgument):
    """A file without a single character that counts."""

    reason = "EMPTY_FILE"


class HeaderOnly(InvalidArgument):
    """A header without one row below it."""

    reason = "HEADER_ONLY"


class HeaderTooLong(InvalidArgument):
    """A first row that does not end where a header would."""

    reason = "HEADER_TOO_LONG"


class EmptyColumnName(InvalidArgument):
    """A column without a name."""

    reason = "EMPTY_COLUMN_NAME"


class DuplicateColumnName(InvalidArgument):
    """Two columns with one name, without regard to case."""

    reason = "DUPLICATE_COLUMN_NAME"


class UnknownColumn(InvalidArgument):
    """The request names a column that the file does not have."""

    reason = "UNKNOWN_COLUMN"


class RaggedRow(InvalidArgument):
    """A row with more or fewer fields than the header."""

    reason = "RAGGED_ROW"


class RowTooLong(InvalidArgument):
    """A row that is larger than a row may be."""

    reason = "ROW_TOO_LONG"


class UnterminatedQuote(InvalidArgument):
    """A quoted field that never ends."""

    reason = "UNTERMINATED_QUOTE"


class NotUtf8(InvalidArgument):
    """Bytes that are not UTF-8 text."""

    reason = "NOT_UTF8"


class NulByte(InvalidArgument):
    """A NUL byte, which no text has."""

    reason = "NUL_BYTE"


class MalformedFile(InvalidArgument):
    """A file that cannot be read in its format, for a reason that has no word of its own."""

    reason = "MALFORMED_FILE"


class ScratchFull(Unavailable):
    """There is no room on disk for the file; nothing of it remains."""

    reason = "SCRATCH_FULL"
