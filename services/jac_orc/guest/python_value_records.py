"""Python values that their class and their fields tell, both ways (RecordValue).

These are dataclasses, named tuples, enum members, pydantic models and Python's own containers. A value has this form
only where its fields are all of it. It is made without the `__init__` of its class, and as a `Record` where that class
isn't loaded.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import sys
import types
from typing import TYPE_CHECKING, Any

from .failures import qualified_name
from .protowire import Malformed
from .python_value_texts import name_of_class
from .python_values import NoForm

if TYPE_CHECKING:
    from collections.abc import Callable

_PLAIN_BASES = (dict, list, tuple, set, frozenset, str, bytes, int, float, complex, BaseException)


class Record:
    """A dataclass, named tuple, enum member or model of a class that isn't loaded here: its name and its fields."""

    __slots__ = ("__dict__", "_type_name")  # so that no field is taken for the name

    def __init__(self, type_name: str, values: dict[str, Any]) -> None:
        self._type_name = type_name
        self.__dict__.update(values)

    def __repr__(self) -> str:
        return "%s(%s)" % (self._type_name, ", ".join("%s=%r" % item for item in vars(self).items()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and self._type_name == other._type_name and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self._type_name, frozenset(vars(self).items())))


def fields_of(value: Any) -> dict[str, Any]:
    """The fields that make a value; raises NoForm where they aren't all of it."""
    kind = type(value)
    if kind.__name__ in _PANDAS and str(kind.__module__).partition(".")[0] == "pandas":
        return _PANDAS[kind.__name__][0](value)
    attributes = getattr(value, "__dict__", None) or {}
    if isinstance(value, tuple) and not attributes:
        if hasattr(kind, "_fields") and tuple.__len__(value) == len(value) == len(kind._fields):
            return dict(zip(kind._fields, value, strict=True))
        if hasattr(kind, "n_sequence_fields"):  # struct_time and its like
            return dict(zip(("items", "more"), value.__reduce__()[1], strict=False))
    container, items, fields = CONTAINERS.get(qualified_name(kind), (None, None, ()))
    if kind is types.SimpleNamespace and not any(map(_is_special, attributes)):
        return {"items": dict(attributes)}
    if kind is collections.defaultdict and value.default_factory is not None:
        name_of_class(value.default_factory)  # raises NoForm for any but a plain class
    if kind is container and attributes.keys() == _ATTRIBUTES.get(kind, set()):
        return {field: items(value) if field == "items" else getattr(value, field) for field in fields}
    if isinstance(value, _PLAIN_BASES):
        raise NoForm
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        if any(map(_is_special, names)) or not set(attributes).union(_slots_of(kind)) <= {
            *names,
            "__dict__",
            "__weakref__",
        }:
            raise NoForm
        return {name: getattr(value, name) for name in names if hasattr(value, name)}
    if hasattr(kind, "model_fields") and hasattr(kind, "model_construct"):
        if getattr(value, "__pydantic_extra__", None) or getattr(value, "__pydantic_private__", None):
            raise NoForm
        return dict(attributes)
    raise NoForm


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _slots_of(kind: type) -> set[str]:
    """The names of the places that the instances of a class have, whatever is there."""
    found: set[str] = set()
    for base in kind.__mro__:
        slots = vars(base).get("__slots__", ())
        found.update((slots,) if isinstance(slots, str) else slots)
    return found


def _pandas_name(name: str) -> str:
    """The name in pandas of a class that pandas has somewhere; empty for any other."""
    return name.rpartition(".")[2] if name.startswith("pandas.") else ""


def _time_fields(value: Any) -> dict[str, Any]:
    return {"value": int(value.asm8.astype("int64")), "unit": sys.modules["numpy"].datetime_data(value.asm8.dtype)[0]}


def _timestamp_fields(value: Any) -> dict[str, Any]:
    zone = None if value.tzinfo is None else str(value.tzinfo)
    if zone is not None and zone != "UTC" and getattr(value.tzinfo, "key", None) != zone:
        raise NoForm
    return {**_time_fields(value), "zone": zone}


def _timestamp(pandas: Any, values: dict[str, Any]) -> Any:
    import zoneinfo

    made = pandas.Timestamp(sys.modules["numpy"].datetime64(values["value"], values["unit"]))
    zone = values["zone"]
    if zone is None:
        return made
    # A name of the zones' own: pandas takes files, too.
    return made.tz_localize("UTC").tz_convert(zone if zone == "UTC" else zoneinfo.ZoneInfo(zone))


# The scalars of pandas: what they are made of, and how they are made where pandas is loaded.
_PANDAS: dict[str, tuple[Callable[[Any], dict[str, Any]], Callable[[Any, dict[str, Any]], Any]]] = {
    "NAType": (lambda value: {}, lambda pandas, values: pandas.NA),
    "NaTType": (lambda value: {}, lambda pandas, values: pandas.NaT),
    "Timedelta": (
        _time_fields,
        lambda pandas, values: pandas.Timedelta(sys.modules["numpy"].timedelta64(values["value"], values["unit"])),
    ),
    "Timestamp": (_timestamp_fields, _timestamp),
    "Period": (
        lambda value: {"ordinal": value.ordinal, "freq": value.freqstr},
        lambda pandas, values: pandas.Period(ordinal=values["ordinal"], freq=values["freq"]),
    ),
}
# Python's own containers: the class, what their items are taken as, and what they are made of.
CONTAINERS: dict[str, tuple[Any, Any, tuple[str, ...]]] = {
    "builtins.range": (range, None, ("start", "stop", "step")),
    "builtins.slice": (slice, None, ("start", "stop", "step")),
    "collections.deque": (collections.deque, list, ("items", "maxlen")),
    "collections.OrderedDict": (collections.OrderedDict, dict, ("items",)),
    "collections.Counter": (collections.Counter, dict, ("items",)),
    "collections.defaultdict": (collections.defaultdict, dict, ("default_factory", "items")),
    "collections.UserDict": (collections.UserDict, dict, ("items",)),
    "collections.UserList": (collections.UserList, list, ("items",)),
    "builtins.mappingproxy": (types.MappingProxyType, dict, ("items",)),
    "types.SimpleNamespace": (types.SimpleNamespace, dict, ("items",)),
}
_ATTRIBUTES: dict[Any, set[str]] = {kind: {"data"} for kind in (collections.UserDict, collections.UserList)}


def container_of(name: str, values: dict[str, Any]) -> Any:
    kind, items, fields = CONTAINERS[name]
    try:
        if items is not None and type(values["items"]) is not items:
            raise TypeError("its items are of another kind")
        if kind is types.SimpleNamespace:
            if any(map(_is_special, values["items"])):
                raise ValueError("special names")
            return kind(**values["items"])
        if values.get("default_factory") is not None:
            name_of_class(values["default_factory"])
        return kind(*[values[field] for field in fields])
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, NoForm) as failure:
        raise Malformed("a %s that can't be made: %s" % (name, failure)) from None


def record_of(kind: Any, name: str, values: dict[str, Any]) -> Any:
    """Return a value of the class from its fields, without its `__init__`; a Record if the class isn't known.

    Raises: Malformed for fields that the class doesn't have, or with special names. Python's own functions run what
    attributes like `__annotations__` and `__wrapped__` have.
    """
    for field in values:
        if _is_special(field):
            raise Malformed("a field with the special name %r" % field[:100])
    try:
        scalar, pandas = _PANDAS.get(_pandas_name(name)), sys.modules.get("pandas")
        if scalar is not None and pandas is not None:
            return scalar[1](pandas, values)
        if kind is None:
            return Record(name, values)
        if issubclass(kind, enum.Enum):
            return kind(values["value"])
        if issubclass(kind, tuple) and hasattr(kind, "_fields"):
            return tuple.__new__(kind, [values[field] for field in kind._fields])
        if issubclass(kind, tuple) and hasattr(kind, "n_sequence_fields"):
            if type(values["items"]) is not tuple:
                raise TypeError("its items are no tuple")  # a range of any length, say, of which it would make a list
            return kind(values["items"], values["more"])
        if hasattr(kind, "__dataclass_fields__") and not issubclass(kind, _PLAIN_BASES):
            made = object.__new__(kind)
            known = {field.name for field in dataclasses.fields(kind)}
            for field, value in values.items():
                if field not in known:
                    raise Malformed("%s has no field %r" % (name, field[:100]))
                object.__setattr__(made, field, value)
            return made
        if hasattr(kind, "model_construct") and hasattr(kind, "model_fields"):
            return kind.model_construct(**values)
    except Malformed:
        raise
    except (KeyError, OverflowError, TypeError, ValueError) as failure:
        raise Malformed("a %s that can't be made: %s" % (name, failure)) from None
    return Record(name, values)
