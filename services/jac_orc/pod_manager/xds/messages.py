"""Turns plain data into Envoy's messages.

Configuration is written as in Envoy's documentation, as nested data, and checked against the protobuf types here: a
misspelt field or a wrong type raises at once. Every type that an `@type` names must have been imported; the writers of
such data import them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import envoy.extensions.access_loggers.filters.cel.v3.cel_pb2  # noqa: F401  (named by an @type)
from google.protobuf import any_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.message import Message

MessageT = TypeVar("MessageT", bound=Message)

_POOL = descriptor_pool.Default()

TYPE_PREFIX = "type.googleapis.com/"
MAX_NAME = 255
"""The most characters of a module's name."""


def build(kind: type[MessageT], data: Mapping[str, Any]) -> MessageT:
    """The message of this kind that the data describe; serialized deterministically, its bytes are always the same.

    Raises google.protobuf.json_format.ParseError where they don't fit it.
    """
    message = kind()
    json_format.ParseDict(dict(data), message)
    _settle(message)
    return message


def _settle(message: Message) -> None:
    """Serializes again what is packed in an Any anywhere in the message, this time with its maps in order.

    Otherwise a restarted control plane would send equal resources with other bytes, and Envoy would take its listener
    for a new one.
    """
    if isinstance(message, any_pb2.Any):
        inner = message_factory.GetMessageClass(_POOL.FindMessageTypeByName(message.TypeName()))()
        inner.ParseFromString(message.value)
        _settle(inner)
        message.value = inner.SerializeToString(deterministic=True)
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        entry = field.message_type.GetOptions().map_entry
        if entry and field.message_type.fields_by_name["value"].message_type is None:
            continue
        for part in value.values() if entry else value if isinstance(value, Sequence) else [value]:
            _settle(part)


def type_url(message: Message) -> str:
    """The name by which xDS asks for resources of the message's type."""
    return TYPE_PREFIX + message.DESCRIPTOR.full_name


def typed(name: str, full_name: str, **fields: Any) -> dict[str, Any]:
    """An extension: its name and its configuration of the type `full_name`."""
    return {"name": name, "typed_config": {"@type": TYPE_PREFIX + full_name, **fields}}


def cel_filter(expression: str) -> dict[str, Any]:
    """An access log's filter: the requests for which the expression is true."""
    kind = "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"
    return {"extension_filter": typed("cel", kind, expression=expression)}
