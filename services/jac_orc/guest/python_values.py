"""Python values with nothing lost, as `jac_orc.v1.PythonValue` (its comments tell the forms).

Used by both ends of a session: the guest and the Python client. What has no exact form goes by reference, which the
two `Context`s make and resolve. Nothing that arrives decides what code runs: a class is looked up among those that are
loaded already, and only dataclasses, named tuples, enums and pydantic models are made, without their `__init__`.
"""

from __future__ import annotations

import array
import dataclasses
import datetime
import enum
import json
import math
import struct
import sys
from typing import TYPE_CHECKING, Any

from .failures import qualified_name
from .protowire import (
    FIXED64,
    VARINT,
    Malformed,
    double,
    fields,
    flag,
    key,
    last_field,
    packed_double,
    sized,
    string,
    text,
    varint,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    Buffer = bytes | bytearray | memoryview

MAX_DEPTH = 100
CHUNK_FROM = 128 * 1024
"""Arrays of as many bytes travel apart from their message, in chunks."""

(NONE, BOOL, INT, BIG_INT, FLOAT, STRING, BYTES, BYTEARRAY, COMPLEX, LIST, TUPLE, SET, FROZENSET, DICT, TEXT, RECORD,
 TENSOR, OBJECT, RESULT, SURROGATES) = range(1, 21)  # fmt: skip
_NONE, _FALSE, _TRUE = key(NONE, VARINT) + b"\x01", key(BOOL, VARINT) + b"\x00", key(BOOL, VARINT) + b"\x01"
_INT, _FLOAT, _STRING = key(INT, VARINT), key(FLOAT, FIXED64), key(STRING)
_KEYS = {kind: key(kind) for kind in range(1, 21)}
_FIRST, _SECOND, _THIRD = key(1), key(2), key(3)
_INTS = struct.Struct("<q")
_LEAST, _MOST = -(2**63), 2**63 - 1
_LONGEST_NAME = 1000


class NoForm(Exception):
    """A value that has no exact form here."""


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


class Context:
    """What a codec can't do alone: references, and arrays that travel apart. Each end has its own."""

    def refer(self, value: Any) -> bytes:
        """The PythonValue's bytes that stand for a value without an exact form; raises where there are none."""
        raise NoForm(qualified_name(type(value)))

    def resolve(self, reference: Any) -> Any:
        """What an ObjectReference's bytes stand for."""
        raise Malformed("an object, which has no meaning here")

    def result(self, call_id: int) -> Any:
        """The result of an earlier call."""
        raise Malformed("the result of another call, which has no meaning here")

    def send_apart(self, data: memoryview) -> int:
        """Takes an array's bytes to be sent in chunks; answers their chunk id, 0 for "not apart"."""
        return 0

    def take_apart(self, chunk_id: int) -> Any:
        """The writable buffer of bytes that have come in chunks."""
        raise Malformed("chunks that have not come")

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


# --- encoding ---------------------------------------------------------------------------------------------------------


class Encoder:
    """Writes values as PythonValue messages."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._parents: set[int] = set()

    def encode(self, value: Any) -> bytes:
        """The message's bytes; raises what the context raises for a value without an exact form."""
        writer = _WRITERS.get(type(value))
        if writer is not None:
            return writer(self, value)
        try:
            form = _form_of(value)
        except Exception:  # NoForm, or the value's own code fails while it is read
            return self._context.refer(value)
        if form[0] != RECORD:
            return self._tensor(*form[1]) if form[0] == TENSOR else _text(*form[1])
        if not self._enter(value):
            return self._context.refer(value)
        try:
            return self.record(*form[1])
        finally:
            self._parents.discard(id(value))

    def _enter(self, value: Any) -> bool:
        """Whether the value is to be written here: it isn't within itself, nor too deep within others."""
        if id(value) in self._parents or len(self._parents) >= MAX_DEPTH:
            return False
        self._parents.add(id(value))
        return True

    def _container(self, value: Any) -> bytes:
        if not self._enter(value):
            return self._context.refer(value)
        try:
            if type(value) is dict:
                return self._dict(value)
            return sized(_KEYS[_SEQUENCES[type(value)]], self._sequence(value))
        finally:
            self._parents.discard(id(value))

    def _sequence(self, items: Any) -> bytes:
        kinds = set(map(type, items))
        if len(kinds) == 1 and len(items) > 1:
            if kinds == {float}:
                return sized(_SECOND, _packed("d", items))
            if kinds == {int}:
                try:
                    return sized(_THIRD, _packed("q", items))
                except OverflowError:
                    pass
        parts: list[bytes] = []
        for item in items:
            data = self.encode(item)
            parts += (_FIRST, varint(len(data)), data)
        return b"".join(parts)

    def _dict(self, value: dict[Any, Any]) -> bytes:
        return sized(_KEYS[DICT], b"".join([self._entry(name, item) for name, item in value.items()]))

    def _entry(self, name: Any, item: Any) -> bytes:
        return sized(_FIRST, sized(_FIRST, self.encode(name)) + sized(_SECOND, self.encode(item)))

    def _int(self, value: int) -> bytes:
        if _LEAST <= value <= _MOST:
            return _INT + varint(value << 1 if value >= 0 else (-value << 1) - 1)
        return sized(_KEYS[BIG_INT], value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))

    def _string(self, value: str) -> bytes:
        try:
            return sized(_STRING, value.encode())
        except UnicodeEncodeError:
            return sized(_KEYS[SURROGATES], value.encode("utf-8", "surrogatepass"))

    def record(self, name: str, values: dict[str, Any]) -> bytes:
        """A RecordValue."""
        parts = [
            sized(_SECOND, string(1, field) + sized(_SECOND, self.encode(value))) for field, value in values.items()
        ]
        return sized(_KEYS[RECORD], string(1, name) + b"".join(parts))

    def _tensor(self, kind: str, dtype: str, shape: Any, fortran: bool, data: memoryview) -> bytes:
        chunk_id = self._context.send_apart(data) if len(data) >= CHUNK_FROM else 0
        sizes = b"".join(map(varint, shape))
        parts = [
            string(1, dtype),
            sized(_SECOND, sizes) if shape else b"",
            flag(3, fortran),
            b"" if chunk_id or not len(data) else sized(key(4), data),
            key(5, VARINT) + varint(chunk_id) if chunk_id else b"",
            string(6, kind),
        ]
        return sized(_KEYS[TENSOR], b"".join(parts))


def _form_of(value: Any) -> tuple[int, tuple[Any, ...]]:
    """TEXT, TENSOR or RECORD, with what these are made of; raises NoForm, or whatever the value's own code raises."""
    kind = type(value)
    if isinstance(value, enum.Enum):
        return RECORD, (qualified_name(kind), {"value": value.value})
    told = _text_of(value)
    if told is not None:
        return TEXT, told
    if isinstance(value, type):
        return TEXT, ("builtins.type", _name_of_class(value))
    tensor = _tensor_of(value)
    if tensor is not None:
        return TENSOR, tensor
    if kind is Record:
        return RECORD, (value._type_name, dict(vars(value)))
    return RECORD, (qualified_name(kind), _fields_of(value))


def _text(name: str, shown: str) -> bytes:
    return sized(_KEYS[TEXT], string(1, name) + string(2, shown))


def _packed(code: str, items: Any) -> bytes:
    numbers = array.array(code, items)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


_SEQUENCES: dict[Any, int] = {list: LIST, tuple: TUPLE, set: SET, frozenset: FROZENSET}
_WRITERS: dict[Any, Callable[[Encoder, Any], bytes]] = {
    type(None): lambda self, value: _NONE,
    bool: lambda self, value: _TRUE if value else _FALSE,
    int: Encoder._int,
    float: lambda self, value: _FLOAT + packed_double(value),
    str: Encoder._string,
    bytes: lambda self, value: sized(_KEYS[BYTES], value),
    bytearray: lambda self, value: sized(_KEYS[BYTEARRAY], value),
    complex: lambda self, value: sized(
        _KEYS[COMPLEX],
        key(1, FIXED64) + packed_double(value.real) + key(2, FIXED64) + packed_double(value.imag),
    ),
    **dict.fromkeys((list, tuple, set, frozenset, dict), Encoder._container),
}


# --- values told by a text --------------------------------------------------------------------------------------------


def _text_of(value: Any) -> tuple[str, str] | None:
    """The class's name and the text of a value that these tell exactly."""
    kind = type(value)
    name = qualified_name(kind)
    if kind is datetime.datetime or kind is datetime.time:
        return name, _zoned(value)
    if kind is datetime.date:
        return name, value.isoformat()
    if kind is datetime.timedelta:
        return name, "%d %d %d" % (value.days, value.seconds, value.microseconds)
    if name in _BY_TEXT and kind is loaded_class(name):
        return name, _exact_text(value)
    if value is Ellipsis or value is NotImplemented:
        return "builtins.constant", repr(value)
    if name.startswith("numpy.dtype") and isinstance(value, getattr(sys.modules.get("numpy"), "dtype", ())):
        return "numpy.dtype", _dtype_text(value)
    return None


def _exact_text(value: Any) -> str:
    try:
        shown = str(value)
        shown.encode()
    except ValueError:  # a path with bytes that are not UTF-8, or more digits than Python writes
        raise NoForm from None
    return shown


# Classes of the standard library whose str() is what they are made of; the path classes are one of two, by the system.
_BY_TEXT = {
    name: name.partition(".")[0]
    for name in """
    decimal.Decimal fractions.Fraction uuid.UUID pathlib.PosixPath pathlib.WindowsPath pathlib.PurePosixPath
    pathlib.PureWindowsPath ipaddress.IPv4Address ipaddress.IPv6Address ipaddress.IPv4Network ipaddress.IPv6Network
    ipaddress.IPv4Interface ipaddress.IPv6Interface
    """.split()
}
_BUILTIN_CLASSES = {
    kind.__name__: kind
    for kind in (
        bool,
        bytearray,
        bytes,
        complex,
        dict,
        float,
        frozenset,
        int,
        list,
        object,
        set,
        str,
        tuple,
        type(None),
    )
}


def _zoned(value: Any) -> str:
    """ISO 8601, and behind it the zone's name where it has one (RFC 9557), and `!fold` for the second of two times."""
    zone, shown = value.tzinfo, value.isoformat()
    if zone is not None and type(zone) is not datetime.timezone:
        name = getattr(zone, "key", None)
        if qualified_name(type(zone)) not in ("zoneinfo.ZoneInfo", "backports.zoneinfo.ZoneInfo") or not name:
            raise NoForm
        shown = value.replace(tzinfo=None).isoformat() + "[%s]" % name
    elif zone is not None:
        offset = zone.utcoffset(None)
        if offset.microseconds or zone.tzname(None) != datetime.timezone(offset).tzname(None):
            raise NoForm  # an offset that `fromisoformat` doesn't always read, or a zone with a name of its own
    return str(shown) + ("!fold" if value.fold else "")


def _unzoned(kind: Any, shown: str) -> Any:
    shown, fold = (shown[:-5], 1) if shown.endswith("!fold") else (shown, 0)
    zone = None
    if shown.endswith("]"):
        shown, _, name = shown[:-1].partition("[")
        import zoneinfo

        zone = zoneinfo.ZoneInfo(name)
    value = kind.fromisoformat(shown)
    return value.replace(tzinfo=zone or value.tzinfo, fold=fold)


def _name_of_class(kind: type) -> str:
    name = qualified_name(kind)
    if _class_of_name(name) is not kind:
        raise NoForm
    return name


def _class_of_name(name: str) -> Any:
    """A class that may be an argument by its name: Python's own plain ones, and NumPy's scalars."""
    if name.startswith("builtins."):
        return _BUILTIN_CLASSES.get(name[len("builtins.") :])
    found = loaded_class(name) if name.startswith("numpy.") else None
    return found if found is not None and issubclass(found, sys.modules["numpy"].generic) else None


def _value_of_text(name: str, shown: str) -> Any:
    """The value that a TextValue tells; raises Malformed."""
    try:
        if name in ("datetime.datetime", "datetime.time"):
            return _unzoned(getattr(datetime, name[9:]), shown)
        if name == "datetime.date":
            return datetime.date.fromisoformat(shown)
        if name == "datetime.timedelta":
            days, seconds, micros = map(int, shown.split())
            return datetime.timedelta(days, seconds, micros)
        if name == "fractions.Fraction" and not set(shown) <= set("-/0123456789"):
            raise Malformed("a fraction of another form")  # "1e999999999" is one that takes forever
        if name in _BY_TEXT:
            import importlib

            module = importlib.import_module(_BY_TEXT[name])  # of the standard library, from a fixed list
            return getattr(module, name.rpartition(".")[2])(shown)
        if name == "builtins.constant":
            return {"Ellipsis": Ellipsis, "NotImplemented": NotImplemented}[shown]
        if name == "builtins.type":
            found = _class_of_name(shown)
            if found is not None:
                return found
        if name == "numpy.dtype":
            return _dtype_of(shown)
    except Malformed:
        raise
    except Exception as failure:  # of whichever class's constructor
        raise Malformed("%s can't be made of %r: %s" % (name, shown[:100], failure)) from None
    raise Malformed("a value of the unknown type %s" % name[:200])


# --- records ----------------------------------------------------------------------------------------------------------

_PLAIN_BASES = (dict, list, tuple, set, frozenset, str, bytes, int, float, complex, BaseException)


def _fields_of(value: Any) -> dict[str, Any]:
    """The fields that make a value; raises NoForm where they aren't all of it."""
    kind = type(value)
    attributes = getattr(value, "__dict__", None) or {}
    if isinstance(value, tuple) and not attributes:
        if hasattr(kind, "_fields") and tuple.__len__(value) == len(value) == len(kind._fields):
            return dict(zip(kind._fields, value))
        if hasattr(kind, "n_sequence_fields"):  # struct_time and its like
            return dict(zip(("items", "more"), value.__reduce__()[1]))
    state = _STATES.get(qualified_name(kind))
    if state is not None and kind is loaded_class(qualified_name(kind)) and not attributes:
        return state(value)
    if isinstance(value, _PLAIN_BASES):
        raise NoForm
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        if not set(attributes).union(_slots_of(kind)) <= {*names, "__dict__", "__weakref__"}:
            raise NoForm
        return {name: getattr(value, name) for name in names if hasattr(value, name)}
    if hasattr(kind, "model_fields") and hasattr(kind, "model_construct"):
        if getattr(value, "__pydantic_extra__", None) or getattr(value, "__pydantic_private__", None):
            raise NoForm
        return dict(attributes)
    raise NoForm


def _slots_of(kind: type) -> set[str]:
    """The names of the places that the instances of a class have, whatever is there."""
    found: set[str] = set()
    for base in kind.__mro__:
        slots = vars(base).get("__slots__", ())
        found.update((slots,) if isinstance(slots, str) else slots)
    return found


# Of Python's own containers: what they are made of, and how.
_STATES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "builtins.range": lambda value: {"start": value.start, "stop": value.stop, "step": value.step},
    "builtins.slice": lambda value: {"start": value.start, "stop": value.stop, "step": value.step},
    "collections.deque": lambda value: {"items": list(value), "maxlen": value.maxlen},
    "collections.OrderedDict": lambda value: {"items": dict(value)},
    "collections.Counter": lambda value: {"items": dict(value)},
}


def _made(name: str, values: dict[str, Any]) -> Any:
    import collections

    try:
        if name in ("builtins.range", "builtins.slice"):
            return {"range": range, "slice": slice}[name[9:]](values["start"], values["stop"], values["step"])
        if name == "collections.deque" and type(values["items"]) is list:
            return collections.deque(values["items"], values["maxlen"])
        if not isinstance(values["items"], dict):
            raise TypeError("its items are of another kind")
        return getattr(collections, name[12:])(values["items"])
    except (KeyError, TypeError, ValueError, OverflowError) as failure:
        raise Malformed("a %s that can't be made: %s" % (name, failure)) from None


def _record(kind: Any, name: str, values: dict[str, Any]) -> Any:
    """A value of the class from its fields, without its `__init__`; a Record where the class isn't known."""
    try:
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
    except (KeyError, TypeError, ValueError) as failure:
        raise Malformed("a %s that can't be made: %s" % (name, failure)) from None
    return Record(name, values)


# --- arrays -----------------------------------------------------------------------------------------------------------


def _dtype_text(dtype: Any) -> str:
    """A dtype as text that makes the same dtype again; raises NoForm where there is none."""
    numpy: Any = sys.modules["numpy"]
    if dtype.hasobject:
        raise NoForm
    shown = dtype.str if dtype.names is None else json.dumps(dtype.descr)
    try:
        same = _dtype_of(shown)
    except (Malformed, TypeError, ValueError):
        raise NoForm from None
    if same != dtype or same.isalignedstruct != dtype.isalignedstruct or numpy.dtype(dtype.type).kind != same.kind:
        raise NoForm
    return str(shown)


def _dtype_of(shown: str) -> Any:
    numpy = _numpy()
    try:
        dtype = numpy.dtype(_descr(json.loads(shown)) if shown.startswith("[") else shown)
    except Exception as failure:
        raise Malformed("%r is no dtype: %s" % (shown[:100], failure)) from None
    if dtype.hasobject:
        raise Malformed("a dtype with objects")
    return dtype


def _descr(described: Any) -> Any:
    """A structured dtype's `descr` out of JSON, which has no tuples."""
    found = []
    for name, kind, *shape in described:
        title = tuple(name) if isinstance(name, list) else name
        found.append((title, _descr(kind) if isinstance(kind, list) else kind, *map(tuple, shape)))
    return found


def _numpy() -> Any:
    try:
        import numpy  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise Malformed("an array, and NumPy is not installed here") from None
    return numpy


def _tensor_of(value: Any) -> tuple[str, str, Any, bool, memoryview] | None:
    """What an array is made of: its class, dtype, shape, order and bytes, not copied where they lie in one."""
    kind = type(value)
    if kind is array.array and value.typecode not in "uw":
        return "array.array", value.typecode, (len(value),), False, memoryview(value).cast("B")
    if kind is memoryview:
        fits = value.format in _MEMORY_FORMATS and value.contiguous and value.ndim == 1
        if not fits:
            raise NoForm
        return "builtins.memoryview", value.format, value.shape, False, value.cast("B")
    numpy: Any = sys.modules.get("numpy")
    if numpy is None or not hasattr(numpy, "ndarray"):
        return None
    if kind is numpy.memmap:
        value, kind = value.view(numpy.ndarray), numpy.ndarray
    if kind is not numpy.ndarray and not isinstance(value, numpy.generic):
        return None
    if isinstance(value, numpy.generic):
        if type(value) is not value.dtype.type:
            raise NoForm
        return "numpy.generic", _dtype_text(value.dtype), (), False, memoryview(value.tobytes())
    shown = _dtype_text(value.dtype)
    fortran = value.flags.f_contiguous and not value.flags.c_contiguous
    whole = value if fortran or value.flags.c_contiguous else numpy.ascontiguousarray(value)
    flat = (whole.T if fortran else whole).reshape(-1)
    return "", shown, value.shape, fortran, _bytes_of(numpy, flat)


_MEMORY_FORMATS = ("B", "b", "c", "H", "h", "I", "i", "L", "l", "Q", "q", "f", "d", "?")


def _bytes_of(numpy: Any, flat: Any) -> memoryview:
    """The bytes of a contiguous array; those of no bytes at all and of dates need a detour."""
    if not flat.size or not flat.dtype.itemsize:
        return memoryview(b"")
    return memoryview(flat.view(numpy.uint8))


def _array(kind: str, shown: str, shape: list[int], fortran: bool, data: Any) -> Any:
    """The array of its parts, on the very bytes where they can be written to; raises Malformed."""
    try:
        if kind in ("array.array", "builtins.memoryview"):
            view = memoryview(data)
            if kind == "array.array":
                made = array.array(shown)
                made.frombytes(view)
                return made
            if shown not in _MEMORY_FORMATS:
                raise Malformed("a memoryview of the format %r" % shown[:10])
            return view.cast(shown)  # type: ignore[call-overload]
        numpy = _numpy()
        dtype = _dtype_of(shown)
        if kind not in ("", "numpy.generic") or (dtype.kind in "SU" and not dtype.itemsize):
            raise Malformed("an array of an unknown kind")  # of S0, NumPy makes S1: memory without bytes in the message
        if math.prod(shape) * dtype.itemsize != len(data):
            raise Malformed("an array of %d bytes where its shape says %d" % (len(data), math.prod(shape)))
        if not dtype.itemsize or not len(data):
            made = numpy.empty(shape, dtype)
        else:
            made = numpy.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
        return made[()] if kind == "numpy.generic" else made
    except Malformed:
        raise
    except (TypeError, ValueError) as failure:
        raise Malformed("an array that can't be made: %s" % failure) from None


# --- decoding ---------------------------------------------------------------------------------------------------------


class Decoder:
    """Reads PythonValue messages; raises Malformed for what is none."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def decode(self, message: Buffer, depth: int = 0) -> Any:
        """The value."""
        kind, data = last_field(message)
        try:
            if kind == INT:
                return (data >> 1) ^ -(data & 1)
            if kind == STRING:
                return text(data)
            if kind == FLOAT:
                return double(data)
            if kind in (NONE, BOOL):
                return bool(data) if kind == BOOL else None
            if isinstance(data, memoryview):
                reader = _READERS.get(kind)
                if reader is not None:
                    return reader(self, data, depth)
        except (AttributeError, RecursionError, TypeError, UnicodeDecodeError) as failure:
            # an unhashable member or key, or a field of another kind
            raise Malformed("a value that can't be made: %s" % failure) from None
        raise Malformed("a value of an unknown kind" if kind else "an empty value")

    def _items(self, data: memoryview, depth: int) -> list[Any]:
        if depth > 3 * MAX_DEPTH:
            raise Malformed("the value is nested deeper than %d levels" % MAX_DEPTH)
        items: list[Any] = []
        for number, value in fields(data):
            if number == 1:
                items.append(self.decode(value, depth + 1))
            elif number in (2, 3):
                numbers = array.array("d" if number == 2 else "q", _whole(value, 8))
                if sys.byteorder == "big":
                    numbers.byteswap()
                items += numbers.tolist()
        return items

    def _dict(self, data: memoryview, depth: int) -> dict[Any, Any]:
        if depth > 3 * MAX_DEPTH:
            raise Malformed("the value is nested deeper than %d levels" % MAX_DEPTH)
        made: dict[Any, Any] = {}
        for number, value in fields(data):
            if number == 1:
                parts = dict(fields(value))
                name = self.decode(parts.get(1, b""), depth + 1)
                made[name] = self.decode(parts.get(2, b""), depth + 1)
        return made

    def _complex(self, data: memoryview, depth: int) -> complex:
        parts = dict(fields(data))
        return complex(*(double(parts[number]) if number in parts else 0.0 for number in (1, 2)))

    def _text(self, data: memoryview, depth: int) -> Any:
        parts = dict(fields(data))
        return _value_of_text(text(parts.get(1, b"")), text(parts.get(2, b"")))

    def _record(self, data: memoryview, depth: int) -> Any:
        if depth > 3 * MAX_DEPTH:
            raise Malformed("the value is nested deeper than %d levels" % MAX_DEPTH)
        name, values = "", {}
        for number, value in fields(data):
            if number == 1:
                name = text(value)
            elif number == 2:
                parts = dict(fields(value))
                values[text(parts.get(1, b""))] = self.decode(parts.get(2, b""), depth + 1)
        if name in _STATES:
            return _made(name, values)
        return _record(self._context.find_class(name), name, values)

    def _tensor(self, data: memoryview, depth: int) -> Any:
        shape: list[int] = []
        shown, kind, fortran, content, chunk_id = "", "", False, memoryview(b""), 0
        for number, value in fields(data):
            if number == 1:
                shown = text(value)
            elif number == 2:
                shape += varints(value) if isinstance(value, memoryview) else [value]
            elif number == 3:
                fortran = bool(value)
            elif number == 4:
                content = value
            elif number == 5:
                chunk_id = value
            elif number == 6:
                kind = text(value)
        own = self._context.take_apart(chunk_id) if chunk_id else bytearray(content)
        return _array(kind, shown, shape, fortran, own)

    def _result(self, data: memoryview, depth: int) -> Any:
        return self._context.result(dict(fields(data)).get(1, 0))


def _whole(data: Any, size: int) -> bytes:
    if len(data) % size:
        raise Malformed("numbers that are cut off")
    return bytes(data)


def varints(data: memoryview) -> list[int]:
    """The numbers of a packed field; raises Malformed."""
    numbers, number, shift = [], 0, 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        shift += 7
        if shift > 70:
            raise Malformed("a number without its end")
        if byte < 0x80:
            numbers.append(number)
            number = shift = 0
    if shift:
        raise Malformed("a number without its end")
    return numbers


_READERS: dict[int, Callable[[Decoder, memoryview, int], Any]] = {
    BIG_INT: lambda self, data, depth: int.from_bytes(data, "big", signed=True),
    BYTES: lambda self, data, depth: bytes(data),
    BYTEARRAY: lambda self, data, depth: bytearray(data),
    COMPLEX: Decoder._complex,
    LIST: Decoder._items,
    TUPLE: lambda self, data, depth: tuple(self._items(data, depth)),
    SET: lambda self, data, depth: set(self._items(data, depth)),
    FROZENSET: lambda self, data, depth: frozenset(self._items(data, depth)),
    DICT: Decoder._dict,
    TEXT: Decoder._text,
    RECORD: Decoder._record,
    TENSOR: Decoder._tensor,
    OBJECT: lambda self, data, depth: self._context.resolve(data),
    RESULT: Decoder._result,
    SURROGATES: lambda self, data, depth: str(data, "utf-8", "surrogatepass"),
}
