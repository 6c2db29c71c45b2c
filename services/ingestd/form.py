"""The one file in a multipart form, as its bytes come in."""

from __future__ import annotations

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from services.ingestd.errors import BrokenMultipart, MissingFile
from services.runtime.errors import UnknownField

FIELD = "file"
_NAMED = 5
"""At most so many unknown fields are remembered, for the error."""
_NAME_LENGTH = 64


def boundary_of(content_type: str) -> str | None:
    """The boundary of a multipart form, or None if this is the type of something else; empty if it has none."""
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        return None
    return options.get(b"boundary", b"").decode("latin-1")


def _base_name(file_name: str) -> str:
    # Some clients send the whole path, which is nobody's business.
    return file_name.replace("\\", "/").rpartition("/")[2][:255]


class FormFile:
    """Finds the field `file` in a form that comes in pieces of any size; keeps none of it."""

    def __init__(self, boundary: str) -> None:
        """Raises BrokenMultipart where the boundary is missing or longer than 256 bytes."""
        if not boundary:
            raise BrokenMultipart("the content type multipart/form-data lacks its boundary")
        self.file_name = ""
        self._header: tuple[list[bytes], list[bytes]] = ([], [])
        self._disposition = b""
        self._found = False
        self._current = ""
        self._unknown: list[str] = []
        self._ended = False
        self._pieces: list[bytes] = []
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": lambda data, start, end: self._header[0].append(data[start:end]),
                    "on_header_value": lambda data, start, end: self._header[1].append(data[start:end]),
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_end": self._on_end,
                },
            )
        except FormParserError:
            raise BrokenMultipart("the multipart form has an unusable boundary") from None

    def feed(self, piece: bytes) -> bytes:
        """Returns the file's bytes in this piece of the form; about 1 ms a MiB. Raises BrokenMultipart."""
        try:
            self._parser.write(piece)
        except FormParserError:
            raise BrokenMultipart("the body is no well-formed multipart form: it breaks its own boundary") from None
        found = b"".join(self._pieces)
        self._pieces.clear()
        return found

    def finish(self) -> None:
        """Raises BrokenMultipart for a form cut short, MissingFile without a field `file`, UnknownField for others."""
        if not self._ended:
            raise BrokenMultipart("the multipart form is cut short: its closing boundary is missing")
        if not self._found:
            found = f", only {', '.join(map(repr, self._unknown))}" if self._unknown else ""
            message = f"the multipart form has no field {FIELD!r}{found}: send the file as {FIELD}=@…"
            raise MissingFile(message, field=FIELD)
        if self._unknown:
            name = self._unknown[0]
            raise UnknownField(
                f"the form field {name!r} is unknown: all but {FIELD!r} go in the query string", field=name
            )

    def _on_part_begin(self) -> None:
        self._disposition = b""

    def _on_header_end(self) -> None:
        name, value = (b"".join(parts) for parts in self._header)
        self._header = ([], [])
        if name.strip().lower() == b"content-disposition":
            self._disposition = value

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition.decode("latin-1"))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if not name:
            raise BrokenMultipart("a part of the multipart form has no field name")
        self._current = name
        if name != FIELD:
            if len(self._unknown) < _NAMED:
                self._unknown.append(name[:_NAME_LENGTH])
            return
        if self._found:
            raise BrokenMultipart(f"the multipart form has more than one field {FIELD!r}: send one file a request")
        self._found = True
        self.file_name = _base_name(options.get(b"filename", b"").decode("utf-8", "replace"))

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current == FIELD:
            self._pieces.append(data[start:end])

    def _on_end(self) -> None:
        self._ended = True
