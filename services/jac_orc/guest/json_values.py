"""Values as JSON (contract: JSON values): the plain form that REST and `google.protobuf.Value` share."""

from __future__ import annotations

import array
import base64
import collections
import dataclasses
import enum
import functools
import itertools
import json
import math
import sys
import types
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any

from . import json_numpy
from .failures import Refusal, quote
from .python_values import TEXT_CLASSES, NoForm

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    Document = dict[str, Any]

MAX_DEPTH = 100
MAX_DIGITS = 100_000  # of an int: the time for more grows with their square, and nothing else runs meanwhile
_DIGITS_FAULT = "integer string conversion"
_TOO_MANY_DIGITS = "an int has more than the %d digits that are allowed" % MAX_DIGITS
_REFERENCE_FIELDS = frozenset(("obj_id", "type", "repr", "is_callable"))
_FLAT = frozenset((str, int, bool, type(None)))
_FLAT_OR_FLOAT = _FLAT | {float}


# --- arguments --------------------------------------------------------------------------------------------------------


def parse_body(data: Any, parse: Callable[[str], Any] | None = None) -> Document:
    """The JSON object in a body; raises Refusal for anything else. NaN and doubled keys are no JSON here.

    `parse` is another decoder's, as `exact_parser` gives.
    """
    try:
        text = str(data, "utf-8")
    except (TypeError, UnicodeDecodeError) as failure:  # the one of a number in the place of the bytes
        raise Refusal("MALFORMED_REQUEST", "the body is not UTF-8: %s" % failure) from None
    try:
        body = (parse or _parse)(text) if text.strip() else {}
    except RecursionError:
        raise _too_deep() from None
    except ValueError as failure:
        if _DIGITS_FAULT in str(failure):
            raise Refusal("TOO_LARGE", _TOO_MANY_DIGITS, limit=str(MAX_DIGITS)) from None
        raise Refusal("MALFORMED_REQUEST", "the body is not JSON: %s" % str(failure)[:300]) from None
    if not isinstance(body, dict):
        raise Refusal("MALFORMED_REQUEST", "the body must be a JSON object, not %s" % json_kind(body))
    return body


def _no_constant(name: str) -> None:
    raise ValueError("%s is no JSON number" % name)


def _object(pairs: list[tuple[str, Any]]) -> Document:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, count in collections.Counter(name for name, _ in pairs).items() if count > 1]
        raise ValueError("the key %s stands twice in one object" % quote(names[0]))
    return result


_parse = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_object).decode


def exact_parser(number: Callable[[str], float]) -> Callable[[str], Any]:
    """A decoder that asks for each number with a fraction or an exponent what its text is."""
    return json.JSONDecoder(parse_float=number, parse_constant=_no_constant, object_pairs_hook=_object).decode


def json_kind(value: Any) -> str:
    """What a JSON value is, in words."""
    kinds = {list: "an array", dict: "an object", str: "a string", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")


def _too_deep() -> Refusal:
    return Refusal("TOO_DEEP", "the value is nested deeper than %d levels" % MAX_DEPTH, limit=str(MAX_DEPTH))


def decode(value: Any, find: Callable[[str], Any], depth: int = 0) -> Any:
    """An argument as Python sees it; `{"$bytes": …}` and `{"$value": …}` are escapes, `{"obj_id": …}` is an object.

    `find` gives the object of an id. Raises Refusal.
    """
    kind = type(value)
    if kind is list:
        if depth >= MAX_DEPTH:
            raise _too_deep()
        kinds = set(map(type, value))
        if kinds <= _FLAT:
            return value
        if kinds <= _FLAT_OR_FLOAT:
            if math.inf in value or -math.inf in value:
                raise not_finite()
            return value
        return [decode(item, find, depth + 1) for item in value]
    if kind is float and math.isinf(value):
        raise not_finite()
    if kind is not dict:
        return value
    if depth >= MAX_DEPTH:
        raise _too_deep()
    if len(value) == 1:
        if "$bytes" in value:
            return decode_bytes(value["$bytes"], 'the value of "$bytes"')
        if "$value" in value and isinstance(value["$value"], dict):
            return {key: decode(item, find, depth + 1) for key, item in value["$value"].items()}
    if "obj_id" in value and value.keys() <= _REFERENCE_FIELDS:
        if not isinstance(value["obj_id"], str):
            text = 'the value of "obj_id" must be a string; a dict that has such a key is written {"$value": {…}}'
            raise Refusal("MALFORMED_REQUEST", text, field="obj_id")
        return find(value["obj_id"])
    return {key: decode(item, find, depth + 1) for key, item in value.items()}


def not_finite() -> Refusal:
    return Refusal("MALFORMED_REQUEST", "a number is larger than a float can be")


def decode_bytes(text: Any, what: str) -> bytes:
    """The bytes of a base64 text; raises Refusal."""
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, TypeError):
        raise Refusal("MALFORMED_REQUEST", "%s is not base64" % what) from None


# --- results ----------------------------------------------------------------------------------------------------------


class Walk:
    """What one walk through a value knows: the containers that it is in, and how many more items fit.

    `keep` makes an object of a value that has no exact form, and gives its reference.
    """

    def __init__(self, keep: Callable[[Any], Document], max_bytes: int, max_depth: int = MAX_DEPTH) -> None:
        self._keep = keep
        self.parents: set[int] = set()
        self.max_depth = max_depth
        self._max_bytes = max_bytes
        self._room = max_bytes // 2  # an item has at least a character and a comma

    def keep(self, value: Any) -> Document:
        """The reference to an object made of the value, its texts such that each codec has them."""
        return {
            name: part.encode("utf-8", "backslashreplace").decode() if isinstance(part, str) else part
            for name, part in self._keep(value).items()
        }

    def take(self, items: int) -> None:
        """Counts items before they are looked at; raises Refusal where they can't fit."""
        self._room -= items
        if self._room < 0:
            raise too_large(self._max_bytes)


def too_large(limit: int) -> Refusal:
    """The refusal of an answer above the limit."""
    text = "the answer has more than the %d bytes that the setting MAX_ANSWER_BYTES allows" % limit
    return Refusal("TOO_LARGE", text, limit=str(limit), setting="MAX_ANSWER_BYTES")


_dump = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_dump_ascii = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode


def encode_result(value: Any, keep: Callable[[Any], Document], max_bytes: int) -> bytes:
    """`{"result":…}` as bytes; raises Refusal for a larger one."""
    kind = type(value)
    if kind is float and math.isfinite(value):
        return b'{"result":%b}' % repr(value).encode()
    if value is None or kind is bool:
        return b'{"result":null}' if value is None else b'{"result":true}' if value else b'{"result":false}'
    if kind is str and len(value) < max_bytes:
        text = '{"result":%s}' % encode_basestring(value)
        plain = value
    else:
        plain = encode(value, 0, Walk(keep, max_bytes))
        try:
            text = '{"result":%s}' % _dump(plain)
        except ValueError as failure:
            if _DIGITS_FAULT not in str(failure):
                raise
            raise Refusal("TOO_LARGE", _TOO_MANY_DIGITS, limit=str(MAX_DIGITS)) from None
    if len(text) > max_bytes:
        raise too_large(max_bytes)
    try:
        data = text.encode()
    except UnicodeEncodeError:  # a lone surrogate: JSON can escape it, UTF-8 can't hold it
        data = ('{"result":%s}' % _dump_ascii(plain)).encode()
    if len(data) > max_bytes:
        raise too_large(max_bytes)
    return data


def encode(value: Any, depth: int, walk: Walk) -> Any:
    """The value as what `json.dumps` writes exactly; what has no such form becomes an object's reference."""
    kind = type(value)
    if kind is str:
        walk.take(len(value) // 2)
        return value
    if value is None or kind in (int, bool):
        return value
    if kind is float:
        return _encode_float(value)
    if depth >= walk.max_depth or id(value) in walk.parents:
        return walk.keep(value)
    if kind not in (list, tuple, dict):
        if issubclass(kind, enum.Enum):
            return encode(value.value, depth + 1, walk)
        try:
            scalar = _encode_scalar(value)
        except Exception:  # its own code fails
            return walk.keep(value)
        if scalar is not None:
            return scalar[0]
    walk.parents.add(id(value))
    try:
        return _encode_container(value, depth + 1, walk)
    except Refusal:
        raise
    except Exception:  # NoForm, or its own code fails while it is read
        return walk.keep(value)
    finally:
        walk.parents.discard(id(value))


def _encode_float(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _encode_scalar(value: Any) -> tuple[Any] | None:
    """The JSON form in a tuple, or None where the value is no scalar that has one."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return (base64.b64encode(bytes(value)).decode(),)
    if isinstance(value, complex) and json_numpy.kind_of(value) is None:
        return ([_encode_float(value.real), _encode_float(value.imag)],)
    datetime: Any = sys.modules.get("datetime")
    if datetime is not None:
        if isinstance(value, datetime.timedelta):
            if hasattr(value, "to_timedelta64"):  # of pandas, whose own are finer than Python's
                return (json_numpy.duration(value.to_timedelta64()),)
            whole = datetime.timedelta(value.days, value.seconds, value.microseconds)
            # A subclass may be finer than this can tell.
            return (json_numpy.seconds(whole // datetime.timedelta(microseconds=1), 6),) if whole == value else None
        if isinstance(value, (datetime.date, datetime.time)):
            return (value.isoformat(),)
    if json_numpy.kind_of(value) is not None:
        return None
    pandas = sys.modules.get("pandas")
    if value is getattr(pandas, "NA", NoForm):
        return (None,)
    if isinstance(value, getattr(pandas, "Period", ())):
        return (str(value),)
    for module in _TEXT_MODULES:
        if module in sys.modules and isinstance(value, _text_classes(module)):
            return (str(value),)
    if isinstance(value, float):
        return (_encode_float(float.__float__(value)),)
    if isinstance(value, int):
        return (int.__int__(value),)
    return (str.__str__(value),) if isinstance(value, str) else None


_TEXTS = (*TEXT_CLASSES, "pathlib.PurePath", "zoneinfo.ZoneInfo")
_TEXT_MODULES = sorted({name.partition(".")[0] for name in _TEXTS})


@functools.cache
def _text_classes(module: str) -> tuple[type, ...]:
    """The classes of a loaded module that str() tells."""
    named = [name.partition(".") for name in _TEXTS]
    return tuple(getattr(sys.modules[module], name) for home, _, name in named if home == module)


def _encode_container(value: Any, depth: int, walk: Walk) -> Any:
    if isinstance(value, _MAPPINGS):
        return _encode_dict(value, depth, walk)
    if isinstance(value, types.SimpleNamespace):
        return _encode_dict(vars(value), depth, walk)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: encode(item, depth, walk) for name, item in zip(value._fields, value, strict=False)}
    if hasattr(type(value), "__dataclass_fields__"):
        fields = dataclasses.fields(value)
        return {field.name: encode(getattr(value, field.name), depth, walk) for field in fields}
    if isinstance(value, (set, frozenset)):
        walk.take(len(value))
        return _encode_items(_sorted(_taken(value, len(value))), depth, walk)
    if isinstance(value, _SEQUENCES):
        return _encode_items(value, depth, walk)
    if json_numpy.kind_of(value) is not None:
        walk.take(value.size)
        plain = json_numpy.plain(value)
        # Ints, bools and strings need no further look.
        return plain if value.dtype.kind in "biuU" else encode(plain, depth, walk)
    if isinstance(value, array.array):
        return value.tounicode() if value.typecode in "uw" else _encode_items(value.tolist(), depth, walk)
    if hasattr(type(value), "model_dump") and hasattr(type(value), "model_fields"):
        return encode(value.model_dump(), depth, walk)
    raise NoForm


_DICT_VIEWS = (type({}.keys()), type({}.values()), type({}.items()))  # type: ignore[var-annotated]
_SEQUENCES: Any = (list, tuple, range, collections.deque, collections.UserList, *_DICT_VIEWS)
_EXACT_SEQUENCES = frozenset((list, tuple, range, collections.deque, *_DICT_VIEWS))
_MAPPINGS: Any = (dict, types.MappingProxyType, collections.UserDict)


def _taken(items: Iterable[Any], count: int) -> list[Any]:
    """The items of a class that may iterate as it likes; raises NoForm where they aren't so many."""
    taken = list(itertools.islice(items, count + 1))
    if len(taken) != count:
        raise NoForm
    return taken


def _encode_items(items: Collection[Any], depth: int, walk: Walk) -> list[Any]:
    walk.take(len(items))
    if type(items) not in _EXACT_SEQUENCES:
        items = _taken(items, len(items))
    kinds = set(map(type, items))
    if kinds <= _FLAT or (kinds <= _FLAT_OR_FLOAT and _all_finite(items)):
        return items if type(items) is list else list(items)
    return [item if item is None or type(item) in (str, int, bool) else encode(item, depth, walk) for item in items]


def _all_finite(items: Collection[Any]) -> bool:
    try:
        return all(map(math.isfinite, items))
    except (TypeError, OverflowError):  # there are other than floats among them
        return not any(type(item) is float and not math.isfinite(item) for item in items)


def _sorted(items: Collection[Any]) -> Collection[Any]:
    try:
        return sorted(items)
    except Exception:  # no order among them, or comparing them is code that fails
        return items


def _encode_dict(value: Mapping[Any, Any], depth: int, walk: Walk) -> Any:
    """An object where the keys are scalars that JSON writes differently, else an array of pairs."""
    walk.take(2 * len(value))
    names, items = value.keys(), value.values()
    if type(value) is not dict:
        pairs = _taken(value.items(), len(value))
        names, items = [name for name, _ in pairs], [item for _, item in pairs]  # type: ignore[assignment]
    keys = [_encode_key(name) for name in names]
    if None in keys or len(set(keys)) < len(keys):
        return [[encode(name, depth, walk), encode(item, depth, walk)] for name, item in zip(names, items, strict=True)]
    return {key: encode(item, depth, walk) for key, item in zip(keys, items, strict=True)}


def _encode_key(key: Any) -> str | None:
    """A key as `json.dumps` writes it; None for one that it doesn't."""
    if json_numpy.kind_of(key) is not None:
        key = key.item()
    if isinstance(key, str):
        return str.__str__(key)
    if key is None or isinstance(key, int):
        return json.dumps(key)
    if isinstance(key, float) and math.isfinite(key):
        return float.__repr__(key)
    return None
