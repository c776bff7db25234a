"""Turns plain data into Envoy's messages.

Configuration is written as in Envoy's documentation, as nested data, and checked against the protobuf types here: a
misspelt field or a wrong type raises at once. Every type that an `@type` names must have been imported; the writers of
such data import them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

MessageT = TypeVar("MessageT", bound=Message)

TYPE_PREFIX = "type.googleapis.com/"


def build(kind: type[MessageT], data: Mapping[str, Any]) -> MessageT:
    """The message of this kind that the data describe.

    Raises google.protobuf.json_format.ParseError where they don't fit it.
    """
    message = kind()
    json_format.ParseDict(dict(data), message)
    return message


def type_url(message: Message) -> str:
    """The name by which xDS asks for resources of the message's type."""
    return TYPE_PREFIX + message.DESCRIPTOR.full_name


def typed(name: str, full_name: str, **fields: Any) -> dict[str, Any]:
    """An extension: its name and its configuration of the type `full_name`."""
    return {"name": name, "typed_config": {"@type": TYPE_PREFIX + full_name, **fields}}
