"""Arrays and their dtypes, both ways (TensorValue): NumPy's arrays and scalars, `array.array` and memoryviews.

An array's bytes are taken as they lie in memory, without a copy where they lie in one. What comes in is made on the
writable buffer that holds its bytes, but for `array.array`, which has its own. A dtype is written as text, only where
that makes the same dtype again, and never one with Python objects, whose bytes are pointers. NumPy is imported when one
of its arrays or dtypes comes in; on the way out a value can be one only where NumPy is loaded already.
"""

from __future__ import annotations

import array
import json
import math
import sys
from typing import Any

from .protowire import Malformed
from .python_values import NoForm


def dtype_text(dtype: Any) -> str:
    """A dtype as text that makes the same dtype again; raises NoForm where there is none."""
    numpy: Any = sys.modules["numpy"]
    if dtype.hasobject:
        raise NoForm
    shown = dtype.str if dtype.names is None else json.dumps(dtype.descr)
    try:
        same = dtype_of(shown)
    except (Malformed, TypeError, ValueError):
        raise NoForm from None
    if same != dtype or same.isalignedstruct != dtype.isalignedstruct or numpy.dtype(dtype.type).kind != same.kind:
        raise NoForm
    return str(shown)


def dtype_of(shown: str) -> Any:
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


def tensor_of(value: Any) -> tuple[str, str, Any, bool, memoryview] | None:
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
        return "numpy.generic", dtype_text(value.dtype), (), False, memoryview(value.tobytes())
    shown = dtype_text(value.dtype)
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


def array_of(kind: str, shown: str, shape: list[int], fortran: bool, data: Any) -> Any:
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
        dtype = dtype_of(shown)
        if kind not in ("", "numpy.generic") or (dtype.kind in "SU" and not dtype.itemsize):
            raise Malformed("an array of an unknown kind")  # of S0, NumPy makes S1: memory without bytes in the message
        if math.prod(shape) * dtype.itemsize != len(data):
            raise Malformed("an array of %d bytes where its shape says %d" % (len(data), math.prod(shape)))
        if not dtype.itemsize or not len(data):
            made = numpy.empty(shape, dtype)
        else:
            flat = numpy.frombuffer(data, dtype)
            made = (flat if flat.flags.aligned else flat.copy()).reshape(shape, order="F" if fortran else "C")
        return made[()] if kind == "numpy.generic" else made
    except Malformed:
        raise
    except (TypeError, ValueError) as failure:
        raise Malformed("an array that can't be made: %s" % failure) from None
