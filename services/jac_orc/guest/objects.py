"""Objects: values without an exact form, kept here for the calls that use them.

An id is `MODULE-ADDRESS-PORT-GUEST-SECRET`: where the object is, which anyone may read, and a part that can't be
guessed. An object lives until it is released, its lease has ended, or this process has. Each use prolongs the lease.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import reprlib
import sys
import types
from typing import TYPE_CHECKING, Any

from .failures import Refusal, qualified_name, quote
from .own import Lock, monotonic, sleep, start_new_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .names import Names

    Document = dict[str, Any]

MAX_REPR_CHARS = 1024
_SECRET_BYTES = 16
_MOST_SIZED = 10_000
_LONGEST_LEASE = 7 * 86400.0
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.2, 30.0  # between looks for leases that have ended


class Kept:
    """An object with the end of its lease (monotonic seconds) and what it is taken to weigh."""

    __slots__ = ("ends", "lease", "size", "value")

    def __init__(self, value: Any, lease: float, size: int) -> None:
        self.value = value
        self.lease = lease
        self.ends = monotonic() + lease
        self.size = size


class Objects:
    """The objects of one guest."""

    def __init__(self, names: Names, place: str, lease: float, most: int, most_bytes: int) -> None:
        self._names = names
        self._place = place
        self._lease = lease
        self._most = most
        self._most_bytes = most_bytes
        self._kept: dict[str, Kept] = {}
        self._bytes = 0
        self._unlock()
        os.register_at_fork(after_in_child=self._unlock)
        self._sweeps = False

    def _unlock(self) -> None:
        self._lock = Lock()  # a fork gets a new one, as in `Calls`

    def keep(self, value: Any, made: list[str]) -> Document:
        """Keeps the value, adds its id to those that an answer has made, and gives its reference.

        Raises Refusal where no more fits, or where it may not be handed out.
        """
        self._names.check_result(value)
        kept = Kept(value, self._lease, size_of(value))
        obj_id = "%s-%s" % (self._place, os.urandom(_SECRET_BYTES).hex())
        with self._lock:
            if len(self._kept) >= self._most:
                self._refuse("MAX_OBJECTS", "%d objects" % self._most, self._most)
            if self._bytes + kept.size > self._most_bytes:
                self._refuse("MAX_OBJECT_BYTES", "%d bytes of objects" % self._most_bytes, self._most_bytes)
            self._kept[obj_id] = kept
            self._bytes += kept.size
            if not self._sweeps:
                self._sweeps = True
                start_new_thread(self._sweep, ())
        made.append(obj_id)
        return {
            "obj_id": obj_id,
            "type": qualified_name(type(value)),
            "repr": _repr(value),
            "is_callable": callable(value),
        }

    def _refuse(self, setting: str, what: str, limit: int) -> None:
        text = "this pod keeps %s already, all that the setting %s allows; release some" % (what, setting)
        raise Refusal("OBJECT_LIMIT", text, setting=setting, limit=str(limit))

    def get(self, obj_id: str) -> Any:
        """The object, its lease prolonged; raises Refusal where it isn't here, or no longer."""
        return self._use(obj_id).value

    def release(self, obj_id: str, *further: str) -> None:
        """Forgets the object; raises Refusal where it isn't here. Of further ones, those that are here."""
        self.discard(further)
        with self._lock:
            kept = self._kept.pop(obj_id, None)
            self._bytes -= kept.size if kept else 0
        if kept is None or kept.ends <= monotonic():
            raise self._absent(obj_id)

    def discard(self, obj_ids: Iterable[str]) -> None:
        """Forgets those of the objects that are here."""
        for obj_id in obj_ids:
            with contextlib.suppress(Refusal):
                self.release(obj_id)

    def renew(self, obj_id: str, lease: float | None) -> float:
        """Has the lease last from now for so many seconds, or as long as it did; answers how long that is."""
        kept = self._use(obj_id)
        if lease is not None and not 0 < lease <= _LONGEST_LEASE:
            text = "a lease lasts more than 0 s and at most %d s" % _LONGEST_LEASE
            raise Refusal("MALFORMED_REQUEST", text, field="lease")
        if lease is not None:
            kept.lease = lease
            kept.ends = monotonic() + lease
        return kept.lease

    def _use(self, obj_id: str) -> Kept:
        kept, now = self._kept.get(obj_id), monotonic()
        if kept is None or kept.ends <= now:
            raise self._absent(obj_id)
        kept.ends = now + kept.lease
        return kept

    def _absent(self, obj_id: str) -> Refusal:
        if obj_id.startswith(self._place + "-"):
            text = "the object %s has been released, or its lease has ended" % quote(obj_id)
            return Refusal("OBJECT_LOST", text, obj_id=obj_id[:200])
        return Refusal("OBJECT_ELSEWHERE", "the object %s is not here" % quote(obj_id), obj_id=obj_id[:200])

    def _sweep(self) -> None:
        """Forgets objects whose leases have ended; ends when there are none left."""
        while True:
            now = monotonic()
            with self._lock:
                ended = [obj_id for obj_id, kept in self._kept.items() if kept.ends <= now]
                gone = [self._kept.pop(obj_id) for obj_id in ended]
                self._bytes -= sum(kept.size for kept in gone)
                next_end = min((kept.ends for kept in self._kept.values()), default=None)
                self._sweeps = next_end is not None
            gone.clear()  # what their own code does at their end is done here, without the lock
            if next_end is None:
                return
            sleep(min(max(_SHORTEST_PAUSE, next_end - now), _LONGEST_PAUSE))


_SHOWN_SHORT = ("builtins", "collections", "array")


class _ShortRepr(reprlib.Repr):
    """Shows the beginning of containers only, so that a large one costs no more than a small one."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdeque = 20
        self.maxstring = self.maxlong = self.maxother = MAX_REPR_CHARS

    def repr1(self, x: Any, level: int) -> str:
        # Else it goes by the name of the class alone, which a class of the module's may share.
        return super().repr1(x, level) if type(x).__module__ in _SHOWN_SHORT else self.repr_instance(x, level)

    def repr_array(self, x: Any, level: int) -> str:
        return repr(x) if x.typecode == "u" else super().repr_array(x, level)

    def repr_instance(self, x: Any, level: int) -> str:
        return repr(x[:MAX_REPR_CHARS] if type(x) in (bytes, bytearray) else x)


_short = _ShortRepr()


def _repr(value: Any) -> str:
    try:
        text = _short.repr(value)
    except BaseException as failure:
        text = "<its repr() raised %s>" % type(failure).__name__
    return text if len(text) <= MAX_REPR_CHARS else text[: MAX_REPR_CHARS - 1] + "…"


def size_of(value: Any) -> int:
    """What a value weighs in bytes, by its own account and that of what it visibly holds.

    Beyond so many parts, the others are assumed to have the average size of these. The value's own size is no part of
    that average.
    """
    total, count, found, seen, waiting, own = 0, 0, 1, {id(value)}, [value], 0
    sizes: dict[type, Any] = {}
    while waiting and count < _MOST_SIZED:
        item = waiting.pop()
        count += 1
        try:
            kind = type(item)
            total += (sizes.get(kind) or sizes.setdefault(kind, _measure(kind)))(item)
            parts = _parts(item)
        except Exception:  # noqa: S112 - its own code; then what it holds is not counted
            continue
        own = own or total
        found += len(parts)
        for part in itertools.islice(parts, _MOST_SIZED):
            if id(part) not in seen:
                seen.add(id(part))
                waiting.append(part)
    return own + (total - own) * max(found, count) // count if waiting else total


def _measure(kind: type) -> Callable[[Any], int]:
    """Return what measures objects of a class: their own method, but not what a mock makes when it is asked for."""
    own = next((vars(each)["__sizeof__"] for each in type.mro(kind) if "__sizeof__" in vars(each)), None)
    return sys.getsizeof if isinstance(own, (types.FunctionType, types.MethodDescriptorType)) else object.__sizeof__


def _parts(item: Any) -> Any:
    kind = type(item)
    if kind is dict:
        return item.values()
    if kind in (list, tuple, set, frozenset):
        return item
    try:
        attributes = None if isinstance(item, (type, types.ModuleType)) else getattr(item, "__dict__", None)
    except Exception:  # of its class's code
        return ()
    return attributes.values() if type(attributes) is dict else ()
