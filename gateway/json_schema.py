"""Messages of the contract as JSON schemas, with what their comments and rules say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorSet

from lakehouse.options.v1 import options_pb2

Json: TypeAlias = dict[str, Any]

KNOWN_TYPES: dict[str, Json] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?\d+(\.\d{1,9})?s$"},
    "google.protobuf.FieldMask": {"type": "string"},
    "google.protobuf.Struct": {"type": "object", "additionalProperties": True},
    "google.protobuf.ListValue": {"type": "array", "items": {}},
    "google.protobuf.Value": {},
    "google.protobuf.Any": {"type": "object", "properties": {"@type": {"type": "string"}}, "required": ["@type"]},
}
_NUMBERS: dict[int, Json] = {
    FieldDescriptor.CPPTYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.CPPTYPE_UINT32: {"type": "integer", "format": "int64", "minimum": 0},
    FieldDescriptor.CPPTYPE_FLOAT: {"type": "number", "format": "float"},
    FieldDescriptor.CPPTYPE_DOUBLE: {"type": "number", "format": "double"},
}


def is_required(field: FieldDescriptor) -> bool:
    """Whether a request without the field is refused."""
    return field_behavior_pb2.REQUIRED in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]


class Schemas:
    """Writes schemas and keeps those that others refer to in `components`, by their short names."""

    def __init__(self, descriptors: bytes) -> None:
        """`descriptors` is a FileDescriptorSet with comments."""
        self._comments = dict(_comments(FileDescriptorSet.FromString(descriptors)))
        self.components: Json = {}

    def comment(self, full_name: str) -> str:
        """The comment on something of the contract."""
        return self._comments.get(full_name, "")

    def reference(self, message: Descriptor) -> Json:
        """A reference to the schema of a message."""
        name = re.sub(r"^lakehouse\.(\w+)\.v\d+\.", r"\1.", message.full_name)
        if name not in self.components:
            self.components[name] = {}  # before its fields, which may be of the same type
            self.components[name] = self.message(message)
        return {"$ref": f"#/components/schemas/{name}"}

    def message(self, message: Descriptor, leave_out: Iterable[str] = ()) -> Json:
        """The schema of a message, without some of its fields. Requests take no unknown ones (X2)."""
        fields = [field for field in message.fields if field.name not in leave_out]
        required = [field.name for field in fields if is_required(field)]
        return {
            "type": "object",
            "description": self.comment(message.full_name),
            "properties": {field.name: self.field(field) for field in fields},
            **({"required": required} if required else {}),
            **({"additionalProperties": False} if message.name.endswith("Request") else {}),
        }

    def field(self, field: FieldDescriptor) -> Json:
        """The schema of a field, with its comment as the description."""
        comment, message = self.comment(field.full_name), field.message_type
        if message is not None and message.GetOptions().map_entry:
            schema: Json = {"type": "object", "additionalProperties": self._one(message.fields_by_name["value"])}
        elif field.is_repeated:
            rule = field.GetOptions().Extensions[options_pb2.field]
            sizes = {"minItems": rule.min_items, "maxItems": rule.max_items}
            schema = {"type": "array", "items": self._one(field), **{key: size for key, size in sizes.items() if size}}
        else:
            schema = self._one(field)
        return {**schema, "description": comment} if comment else schema

    def _one(self, field: FieldDescriptor) -> Json:
        if field.message_type is not None:
            return KNOWN_TYPES.get(field.message_type.full_name) or self.reference(field.message_type)
        return {**_scalar(field), **_limits(field)}


def _scalar(field: FieldDescriptor) -> Json:
    if field.cpp_type in _NUMBERS:
        return _NUMBERS[field.cpp_type]
    if field.cpp_type in (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64):
        return {"type": "string", "format": "int64"}
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return {"type": "boolean"}
    if field.enum_type is not None:
        return {"type": "string", "enum": [value.name for value in field.enum_type.values]}
    return {"type": "string", "contentEncoding": "base64"} if field.type == field.TYPE_BYTES else {"type": "string"}


def _limits(field: FieldDescriptor) -> Json:
    rule = field.GetOptions().Extensions[options_pb2.field]
    limits: Json = {}
    if rule.one_of:
        limits["enum"] = list(rule.one_of) if is_required(field) else [*rule.one_of, ""]
    for name in ("minimum", "maximum"):
        if rule.HasField(name) and field.cpp_type in _NUMBERS:
            value = getattr(rule, name)
            limits[name] = int(value) if value.is_integer() else value
    longest = 128 if rule.name else 1024 if rule.key else rule.max_bytes
    return {**limits, "maxLength": longest} if longest else limits


def _comments(files: FileDescriptorSet) -> Iterator[tuple[str, str]]:
    """Yields the full name and the comment of everything that has one."""
    for file in files.file:
        names: dict[tuple[int, ...], str] = {}
        for i, message in enumerate(file.message_type):
            names |= _message_names(message, (4, i), file.package)
        for i, service in enumerate(file.service):
            names[6, i] = f"{file.package}.{service.name}"
            names |= {(6, i, 2, j): f"{names[6, i]}.{method.name}" for j, method in enumerate(service.method)}
        for location in file.source_code_info.location:
            name, comment = names.get(tuple(location.path)), location.leading_comments.strip()
            if name and comment:
                yield name, "\n".join(line.strip() for line in comment.splitlines())


def _message_names(message: DescriptorProto, path: tuple[int, ...], scope: str) -> dict[tuple[int, ...], str]:
    name = f"{scope}.{message.name}"
    names = {path: name, **{(*path, 2, i): f"{name}.{field.name}" for i, field in enumerate(message.field)}}
    for i, nested in enumerate(message.nested_type):
        names |= _message_names(nested, (*path, 3, i), name)
    return names
