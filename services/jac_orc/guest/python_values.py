"""Python values with nothing lost, as `jac_orc.v1.PythonValue` (its comments tell the forms): what all parts share.

Used by both ends: the guest and the Python client. What has no exact form goes by reference, which the
two `Context`s make and resolve. Nothing that arrives decides what code runs: a class is looked up among those that are
loaded already, and only dataclasses, named tuples, enums and pydantic models are made, without their `__init__`.

`python_value_encoder` writes values and `python_value_decoder` reads them, the plain ones by themselves. The other
forms have a file each, with both directions in it: `python_value_texts`, `_records` and `_arrays`.
"""

from __future__ import annotations

import sys
from typing import Any

from .failures import qualified_name
from .protowire import Malformed

MAX_DEPTH = 100
"""What lies deeper within others goes by reference; what arrives may be nested three times as deep."""
_LONGEST_NAME = 1000


class Kind:
    """The kinds of value: the numbers of PythonValue's fields."""

    (NONE, BOOL, INT, BIG_INT, FLOAT, STRING, BYTES, BYTEARRAY, COMPLEX, LIST, TUPLE, SET, FROZENSET, DICT, TEXT,
     RECORD, TENSOR, OBJECT, RESULT, SURROGATES) = range(1, 21)  # fmt: skip


TEXT_CLASSES = """
decimal.Decimal fractions.Fraction uuid.UUID pathlib.PosixPath pathlib.WindowsPath pathlib.PurePosixPath
pathlib.PureWindowsPath ipaddress.IPv4Address ipaddress.IPv6Address ipaddress.IPv4Network ipaddress.IPv6Network
ipaddress.IPv4Interface ipaddress.IPv6Interface
""".split()
"""Classes of the standard library that can be made again from their str()."""


class NoForm(Exception):
    """A value that has no exact form here."""


class TooLong(Exception):
    """A value whose message would be longer than allowed."""


class Context:
    """What a codec can't do alone: references. Each end has its own."""

    def refer(self, value: Any) -> bytes:
        """The PythonValue's bytes that stand for a value without an exact form; raises where there are none."""
        raise NoForm(qualified_name(type(value)))

    def resolve(self, reference: Any) -> Any:
        """What an ObjectReference's bytes stand for."""
        raise Malformed("an object, which has no meaning here")

    def result(self, index: int) -> Any:
        """The result of an earlier call of the batch."""
        raise Malformed("the result of another call, which has no meaning here")

    def find_class(self, name: str) -> Any:
        """The loaded class of a qualified name that records may be made of; None where there is none."""
        return loaded_class(name)


def loaded_class(name: str) -> Any:
    """The class of a qualified name in what is loaded already; None where there is none."""
    parts = name[:_LONGEST_NAME].split(".")
    for count in range(len(parts) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(parts[:count]))
        if found is None:
            continue
        for part in parts[count:]:
            found = vars(found).get(part) if hasattr(found, "__dict__") else None
        if isinstance(found, type):
            return found
    return None
