"""Which names of a module may be reached, and what they stand for (contract: Exposure and access)."""

from __future__ import annotations

import builtins
import contextlib
import importlib
import inspect
import itertools
import keyword
import operator
import sys
import types
from functools import lru_cache, partial
from itertools import starmap
from typing import TYPE_CHECKING, Any

from .failures import Refusal, quote
from .formatting import check_no_formatter, check_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .host_access import HostAccess

_MOST_REMEMBERED = 10_000
_MOST_HOMES = 1000
# From these one gets at every name there is.
_INTERNALS = (types.FrameType, types.TracebackType, types.CodeType)
_BOUND = (types.MethodType, types.BuiltinMethodType)
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, type, type(lru_cache(len)))

# Of the builtins, those that reach nothing but their arguments; classes of the builtins do neither, but these two.
_COMPUTING = (
    abs, all, any, ascii, bin, callable, chr, divmod, format, hash, hex, isinstance, issubclass, iter, len, max, min,
    next, oct, ord, pow, print, repr, round, sorted, sum,
)  # fmt: skip
_REACHING = (type, super)
# Their objects give no more than what they hold; `types` has SimpleNamespace.
_HARMLESS = frozenset(("builtins", "types"))

_OPERATORS = """
__add__ __and__ __concat__ __contains__ __delitem__ __eq__ __floordiv__ __ge__ __getitem__ __gt__ __iadd__ __iand__
__ifloordiv__ __ilshift__ __imatmul__ __imod__ __imul__ __index__ __invert__ __ior__ __ipow__ __irshift__ __isub__
__itruediv__ __ixor__ __le__ __lshift__ __lt__ __matmul__ __mod__ __mul__ __ne__ __neg__ __or__ __pos__ __pow__
__rshift__ __setitem__ __sub__ __truediv__ __xor__
"""
_BUILTINS = """
__abs__ __bool__ __bytes__ __complex__ __divmod__ __float__ __format__ __hash__ __int__ __iter__ __len__ __next__
__repr__ __reversed__ __round__ __str__
"""
_METHODS = "__aenter__ __aexit__ __aiter__ __anext__ __call__ __enter__ __exit__"


def _method(name: str) -> Callable[..., Any]:
    return lambda owner, *args, **kwargs: getattr(owner, name)(*args, **kwargs)


SPECIAL: dict[str, Callable[..., Any]] = {
    **{name: getattr(operator, name) for name in _OPERATORS.split()},
    **{name: getattr(builtins, name.strip("_")) for name in _BUILTINS.split()},
    **{name: _method(name) for name in _METHODS.split()},
}
"""What an object can be asked for by a special name: items, iteration, operators, the two ends of a `with`."""
_CHANGES: dict[str, Callable[..., None]] = {"__setattr__": setattr, "__delattr__": delattr}


class Change:
    """Sets or deletes an attribute of an object, as the method of that name; raises Refusal for a private one.

    In the standard library nothing is changed that all callers share.
    """

    def __init__(self, change: Callable[..., None], owner: Any, *, is_standard_library: bool) -> None:
        self._change = change
        self._owner = owner
        self._is_standard_library = is_standard_library

    def __call__(self, name: str, /, *value: Any) -> None:
        if isinstance(name, str):
            _check_name(name, name)
        if self._is_standard_library:
            if isinstance(self._owner, (types.ModuleType, *_FUNCTIONS)):
                raise Refusal("NAME_NOT_EXPOSED", "a %s can't be changed here" % type(self._owner).__name__)
            for text in value:
                check_text(text)
        self._change(self._owner, name, *value)


class Names:
    """Which names of the module may be reached, and what they stand for.

    A path never leaves the module's own top-level package. Unless the module itself gives access to the host, no path
    leads to a module that does, nor to a function or class from one: a caller of `urllib` may not call
    `urllib.request` by it.
    """

    def __init__(self, name: str, module: types.ModuleType, host: HostAccess) -> None:
        self.name = name
        self.module = module
        self._package = name.partition(".")[0]
        self._host = host
        self._gives_access = bool(host.always_of(name))
        self._is_standard_library = self._package in sys.stdlib_module_names
        self._why_closed = lru_cache(_MOST_HOMES)(self._closed)
        self._found: dict[str, list[Any]] = {}

    def resolve(self, path: str) -> Any:
        """What a dotted path stands for; raises Refusal where there is nothing, or nothing that is exposed.

        Each attribute is read once. What lies where it lay before is neither read nor checked again.
        """
        steps = self._found.get(path)
        if steps is not None:
            for owner, segment, value in steps:
                if vars(owner).get(segment) is not value:
                    del self._found[path]
                    break
            else:
                return steps[-1][2]
        steps = self._steps(self.module, path)
        if len(self._found) < _MOST_REMEMBERED and all(starmap(_lies_in, steps)):
            self._found[path] = steps
        return steps[-1][2]

    def resolve_in(self, owner: Any, path: str) -> Any:
        """Return what a dotted path leads to in an object. A `SPECIAL` name or a change may end it."""
        head, _, last = path.rpartition(".")
        special = SPECIAL.get(last)
        if special is None and last not in _CHANGES:
            return self._steps(owner, path, is_object=True)[-1][2]
        if head:
            owner = self._steps(owner, head, is_object=True)[-1][2]
        if special is None:
            return Change(_CHANGES[last], owner, is_standard_library=self._is_standard_library)
        return partial(special, owner)

    def check_result(self, value: Any) -> None:
        """Raises Refusal for a result that leads where no path may lead.

        Other code than the standard library's may return classes, and methods of objects, from anywhere. A built-in
        class does nothing that Python doesn't do anyway.
        """
        is_free = _is(value, type) or _owner_of(value) is not None
        if not is_free or (self._is_standard_library and getattr(value, "__module__", None) != "builtins"):
            self._check_value(value, "the result")
        if self._is_standard_library:
            check_no_formatter(value)

    def _check_value(self, value: Any, what: str, *, is_own: bool = False) -> None:
        """Raises Refusal for what leads out of the module's package, to the host, or into the interpreter itself."""
        if _is(value, _INTERNALS):
            raise Refusal("NAME_NOT_EXPOSED", "%s is a %s" % (what, type(value).__name__))
        home = _home_of(value) or self._home_of_class(value)
        if not home or (home == "builtins" and not self._is_standard_library and _only_computes(value)):
            return
        if _is(value, types.ModuleType) and not is_own and home.partition(".")[0] != self._package:
            raise Refusal("NAME_NOT_EXPOSED", "%s leads out of %s into %s" % (what, self._package, home))
        self._check_open(home, what)
        access = self._host.of("%s.%s" % (home, value.__name__)) if _is(value, _FUNCTIONS) else ""
        if access and not self._gives_access:  # one function of a module that else only computes
            text = "%s gives access to the host (%s); the operator's policy may allow it" % (what, access)
            raise Refusal("NAME_NOT_EXPOSED", text)

    def _home_of_class(self, value: Any) -> str:
        """Return the module of the class of an object; empty for harmless ones, and in other people's code.

        An object gives as much access to the host as its class does. Code from PyPI is not restricted in this way.
        """
        home: Any = type(value).__module__ if self._is_standard_library else ""
        return home if isinstance(home, str) and home not in _HARMLESS else ""

    def _inherits(self, owner: Any, segment: str) -> bool:
        """Whether a class of the module's own has something from a class of others, as its instances have it too."""
        if self._is_standard_library or not isinstance(owner, type):
            return False
        place = next((each for each in type.mro(owner) if segment in vars(each)), owner)
        packages = [str(each.__module__).partition(".")[0] for each in (owner, place)]
        return packages[0] == self._package != packages[1]

    def _check_inherited(self, method: Any, what: str) -> None:
        """Raises Refusal for a method of an object that comes from a class with access to the host."""
        home = getattr(method, "__module__", None) if self._is_standard_library else None
        if isinstance(home, str) and home != "builtins":
            self._check_open(home, what)

    def _check_open(self, home: str, what: str) -> None:
        """Raises Refusal for a module of which nothing may be reached."""
        reason = self._why_closed(home)
        if reason:
            raise Refusal("NAME_NOT_EXPOSED", "%s leads to %s" % (what, reason))

    def _closed(self, home: str) -> str:
        """Return why nothing of a module may be reached, and what to do instead; empty if it may be."""
        if self._host.refusing(home):
            return "%s, which the operator's policy refuses" % home
        access = "" if self._gives_access else self._host.of(home)
        if not access:
            return ""
        # Of `_io` and `pathlib._local` the modules that people know; others are no one's to create.
        public = ".".join(itertools.takewhile(lambda part: part[:1] != "_", home.lstrip("_").split(".")))
        advice = "; create the module %s to call it" % public if self._host.of(public) else ""
        return "%s, which gives access to the host (%s)%s" % (home, access, advice)

    def _steps(self, owner: Any, path: str, *, is_object: bool = False) -> list[Any]:
        """The owner, the name and the value of each step."""
        segments = path.split(".")
        for segment in segments:
            _check_name(segment, path)
        steps: list[tuple[Any, str, Any]] = []
        for index, segment in enumerate(segments):
            step = owner, segment, self._attribute(owner, segment, segments[: index + 1])
            self._check_step(step, ".".join(segments[: index + 1]), is_object)
            steps.append(step)
            owner = step[2]
        return steps

    def _check_step(self, step: tuple[Any, str, Any], path: str, is_object: bool = False) -> None:
        """Raises Refusal for what isn't exposed."""
        owner, segment, value = step
        exported = _exported(owner)
        if self._inherits(owner, segment):
            return
        is_method = _owner_of(value) is owner and not isinstance(owner, type)
        if is_method and (is_object or isinstance(value, types.BuiltinMethodType)):
            self._check_inherited(value, quote(path))
            return
        try:
            self._check_value(value, quote(path), is_own=_is_submodule(owner, segment, value))
        except Refusal as refusal:
            refusal.metadata["method"] = path[:200]
            raise
        if exported is not None and segment not in exported:
            message = "%s is not exported by %s (__all__)" % (quote(path), owner.__name__)
            raise Refusal("NAME_NOT_EXPOSED", message, method=path[:200])

    def _attribute(self, owner: Any, segment: str, path: Sequence[str]) -> Any:
        """The attribute; a submodule that nothing has imported yet is imported. Raises Refusal if there is none."""
        try:
            return getattr(owner, segment)
        except AttributeError as failure:
            if _is_of_code(failure, owner, segment):
                raise
            if isinstance(owner, types.ModuleType) and "__path__" in vars(owner):  # past its `__getattr__`
                name = "%s.%s" % (owner.__name__, segment)
                self._check_open(name, quote(segment))  # before its import does anything
                try:
                    return importlib.import_module(name)
                except ModuleNotFoundError as missing:
                    if missing.name != name:
                        raise
            raise self._not_found(owner, segment, path, failure) from None

    def _not_found(self, owner: Any, segment: str, path: Sequence[str], failure: AttributeError) -> Refusal:
        import difflib

        name = owner.__name__ if isinstance(owner, (type, types.ModuleType)) else type(owner).__name__
        name = self.name if owner is self.module else name
        near: list[str] = []
        with contextlib.suppress(Exception):  # of its `__dir__`
            near = [each for each in difflib.get_close_matches(segment, self.public(owner), n=4) if each != segment][:3]
        hint = "; did you mean %s?" % ", ".join(near) if near else ""
        whole = ".".join(path)
        message = "%s has no function %s%s" % (name if len(path) == 1 else self.name, quote(whole), hint)
        if "has no attribute" not in str(failure) and str(failure) != segment:  # its `__getattr__` says more
            message += ": %s" % str(failure)[:300]
        return Refusal("FUNCTION_NOT_FOUND", message, method=whole[:200], near=",".join(near))

    def public(self, owner: Any) -> list[str]:
        """The public names of a module, a class or an object, sorted."""
        exported = _exported(owner)
        names = dir(owner) if exported is None else [name for name in exported if isinstance(name, str)]
        return sorted(name for name in names if not name.startswith("_"))

    def walk(self) -> Iterator[tuple[str, Any]]:
        """Every exposed value, as (dotted path, value), submodules of the package included.

        Each name is read once, so that those which a module makes when they are asked for are there, too.
        """
        seen, waiting = set(), [("", self.module)]
        while waiting:
            prefix, owner = waiting.pop(0)
            seen.add(id(owner))
            for name in self.public(owner):
                try:
                    value = getattr(owner, name)
                    self._check_step((owner, name, value), prefix + name)
                except Exception:  # noqa: S112 - a Refusal, or of the code that was to give it
                    continue
                if not _is(value, types.ModuleType):
                    yield prefix + name, value
                elif id(value) not in seen and (prefix == "" or "__all__" in vars(owner)):
                    seen.add(id(value))
                    waiting.append((prefix + name + ".", value))


def _check_name(segment: str, path: str) -> None:
    """Raises Refusal for what is no name of a function, or a private one."""
    if not segment.isidentifier() or keyword.iskeyword(segment):
        raise Refusal("FUNCTION_NOT_FOUND", "%s is no name of a function" % quote(path), method=path[:200])
    if segment.startswith("_"):
        raise Refusal("NAME_NOT_EXPOSED", "%s is private" % quote(path), method=path[:200])


def _is(value: Any, kinds: Any) -> bool:
    """`isinstance`, also of a value whose `__class__` is code that fails, as that of a proxy of nothing does."""
    try:
        return isinstance(value, kinds)
    except Exception:
        return issubclass(type(value), kinds)


def _only_computes(value: Any) -> bool:
    """Whether it is a builtin that a module may well offer by a name of its own: `longest = max`."""
    while isinstance(value, partial):
        value = value.func
    if isinstance(value, type):
        return vars(builtins).get(value.__name__) is value and value not in _REACHING
    return any(value is function for function in _COMPUTING)


def _exported(owner: Any) -> Any:
    """Return a module's `__all__`; None if there is none, or if it is empty, as OpenCV's is, and so says nothing."""
    return vars(owner).get("__all__") or None if isinstance(owner, types.ModuleType) else None


def _lies_in(owner: Any, segment: str, value: Any) -> bool:
    """Whether a module or a class has just this value by that name, so that reading it runs no code."""
    return isinstance(owner, (types.ModuleType, type)) and vars(owner).get(segment) is value


def _is_of_code(failure: AttributeError, owner: Any, segment: str) -> bool:
    """Whether code failed that was to give an attribute, a property or a `__getattr__`, and not for want of it."""
    nowhere = object()
    if inspect.getattr_static(owner, segment, nowhere) is not nowhere:
        return True
    return failure.name not in (None, segment)  # of something else


def _is_submodule(owner: Any, segment: str, value: Any) -> bool:
    """Whether the module is imported by the owner's name, whatever its own name is: `os.path` is `posixpath`."""
    return isinstance(owner, types.ModuleType) and sys.modules.get("%s.%s" % (owner.__name__, segment)) is value


def _owner_of(value: Any) -> Any:
    """Return the object or the class that a method is bound to; None for what is no method."""
    owner = value.__self__ if _is(value, _BOUND) else None
    return None if _is(owner, types.ModuleType) else owner


def _home_of(value: Any) -> str | None:
    """Return the name of the module that a module, function, class or method comes from; None for other values.

    A method comes from the class of its object, which may have inherited it from another module's.
    """
    while _is(value, partial):
        value = value.func
    if _is(value, types.ModuleType):
        return str(value.__name__)
    owner = _owner_of(value)
    if owner is not None:
        value = owner if isinstance(owner, type) else type(owner)
        if value.__module__ == "builtins":
            return None
    home = getattr(value, "__module__", None) if _is(value, _FUNCTIONS) else None
    if home == "types" and vars(types).get(value.__name__) is not value:
        return None  # a class made by `types.new_class`, as `dataclasses.make_dataclass` does before Python 3.12
    return home if isinstance(home, str) else None
