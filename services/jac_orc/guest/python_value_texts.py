"""Python values that the name of their class and a text tell exactly, both ways (TextValue).

These are dates, times, numbers, paths and addresses of the standard library, constants, plain classes and NumPy's
dtypes. A value has this form only where the text makes the same value again. What a text may make is a fixed list.
"""

from __future__ import annotations

import builtins
import importlib
import sys
from typing import TYPE_CHECKING, Any

from .failures import qualified_name
from .protowire import Malformed
from .python_value_arrays import dtype_of, dtype_text
from .python_values import TEXT_CLASSES, NoForm, loaded_class

if TYPE_CHECKING:
    from collections.abc import Callable


def text_of(value: Any) -> tuple[str, str] | None:
    """The class's name and the text of a value that these tell exactly."""
    kind = type(value)
    name = qualified_name(kind)
    form = _FORMS.get(name)
    if form is not None and kind is loaded_class(name):
        return name, form[0](value)
    if value is Ellipsis or value is NotImplemented:
        return "builtins.constant", repr(value)
    if name.startswith("numpy.dtype") and isinstance(value, getattr(sys.modules.get("numpy"), "dtype", ())):
        return "numpy.dtype", dtype_text(value)
    return None


def _exact_text(value: Any) -> str:
    try:
        shown = str(value)
        shown.encode()
    except ValueError:  # a path with bytes that are not UTF-8, or more digits than Python writes
        raise NoForm from None
    return shown


def _zoned(value: Any) -> str:
    """ISO 8601, and behind it the zone's name where it has one (RFC 9557), and `!fold` for the second of two times."""
    import datetime

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


def _fraction(kind: Any, shown: str) -> Any:
    if not set(shown) <= set("-/0123456789"):
        raise Malformed("a fraction of another form")  # "1e999999999" is one that takes forever
    return kind(shown)


def _duration(kind: Any, shown: str) -> Any:
    days, seconds, micros = map(int, shown.split())
    return kind(days, seconds, micros)


# Classes of the standard library by how their text is written, and read again.
_FORMS: dict[str, tuple[Callable[[Any], str], Callable[[Any, str], Any]]] = {
    **dict.fromkeys(TEXT_CLASSES, (_exact_text, lambda kind, shown: kind(shown))),
    "fractions.Fraction": (_exact_text, _fraction),
    "datetime.datetime": (_zoned, _unzoned),
    "datetime.time": (_zoned, _unzoned),
    "datetime.date": (lambda value: str(value.isoformat()), lambda kind, shown: kind.fromisoformat(shown)),
    "datetime.timedelta": (lambda value: "%d %d %d" % (value.days, value.seconds, value.microseconds), _duration),
}
_PLAIN_CLASSES = "bool bytearray bytes complex dict float frozenset int list object set str tuple".split()
_BUILTIN_CLASSES: dict[str, Any] = {
    "NoneType": type(None),
    **{name: getattr(builtins, name) for name in _PLAIN_CLASSES},
}


def name_of_class(kind: type) -> str:
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


def value_of_text(name: str, shown: str) -> Any:
    """The value that a TextValue tells; raises Malformed."""
    try:
        if name in _FORMS:
            module, _, kind = name.partition(".")  # of the standard library, from a fixed list
            return _FORMS[name][1](getattr(importlib.import_module(module), kind), shown)
        if name == "builtins.constant":
            return {"Ellipsis": Ellipsis, "NotImplemented": NotImplemented}[shown]
        if name == "builtins.type":
            found = _class_of_name(shown)
            if found is not None:
                return found
        if name == "numpy.dtype":
            return dtype_of(shown)
    except Malformed:
        raise
    except Exception as failure:  # of whichever class's constructor
        raise Malformed("%s can't be made of %r: %s" % (name, shown[:100], failure)) from None
    raise Malformed("a value of the unknown type %s" % name[:200])
