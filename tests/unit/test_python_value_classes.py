"""PythonValue: which classes are made of what arrives, what goes by reference, and records of unknown classes."""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import io
import pathlib
import sys
import types
import typing
from fractions import Fraction
from typing import Any

import pytest

from jac_orc.guest.protowire import Malformed, key, sized, string
from jac_orc.guest.python_value_decoder import Decoder
from jac_orc.guest.python_value_encoder import Encoder
from jac_orc.guest.python_value_records import Record
from jac_orc.guest.python_values import MAX_DEPTH, Context, NoForm, loaded_class
from jac_orc.v1 import value_pb2
from tests.unit.guest_parts import nested
from tests.unit.python_value_kinds import Both, Colour, Frozen, Order, Point, Slotted, round_trip, same

HERE = __name__


class Shelf(Context):
    """Refers to what has no exact form, and finds it again."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def refer(self, value: Any) -> bytes:
        self.kept.append(value)
        reference = value_pb2.ObjectReference(obj_id=str(len(self.kept) - 1), type="a.B")
        return value_pb2.PythonValue(object_value=reference).SerializeToString()

    def resolve(self, reference: Any) -> Any:
        return self.kept[int(value_pb2.ObjectReference.FromString(bytes(reference)).obj_id)]


def record(name: str, /, **values: Any) -> bytes:
    """A RecordValue, which other writers may make of anything."""
    parts = [
        sized(key(2), string(1, field) + sized(key(2), Encoder(Context()).encode(value)))
        for field, value in values.items()
    ]
    return sized(key(16), string(1, name) + b"".join(parts))


def decoded(data: bytes) -> Any:
    return Decoder(Context()).decode(data)


# --- what goes by reference -------------------------------------------------------------------------------------------


class Opaque:
    pass


class Bag(list[Any]):
    pass


class Text(str):
    __slots__ = ()


class Count(int):
    pass


class Failure(Exception):
    pass


@dataclasses.dataclass
class Fault(Exception):
    """A dataclass that has more than its fields."""

    code: int


@dataclasses.dataclass
class Extended:
    name: str


@dataclasses.dataclass
class Special:
    __wrapped__: int = 1


class Zone(datetime.tzinfo):
    def utcoffset(self, moment: datetime.datetime | None) -> datetime.timedelta:
        return datetime.timedelta(hours=1)

    def tzname(self, moment: datetime.datetime | None) -> str:
        return "odd"

    def dst(self, moment: datetime.datetime | None) -> None:
        return None


class Price(decimal.Decimal):
    pass


def extended() -> Extended:
    one = Extended("a")
    one.more = 1  # type: ignore[attr-defined]
    return one


def offset(**parts: int) -> datetime.datetime:
    return datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(**parts)))


REFERRED: dict[str, Any] = {
    "object": Opaque(), "list subclass": Bag([1]), "str subclass": Text("a"), "int subclass": Count(1),
    "exception": Failure("a"), "dataclass exception": Fault(1), "extended dataclass": extended(),
    "special field": Special(),
    "defaultdict": collections.defaultdict(lambda: 1, a=1), "function": len, "lambda": lambda: 1, "class": Opaque,
    "module's class": decimal.Decimal, "module": sys, "iterator": iter([1]), "generator": iter(()),
    "file": io.StringIO("a"), "special namespace": types.SimpleNamespace(__wrapped__=1),
    "chain": collections.ChainMap({"a": 1}),
    "dict view": {"a": 1}.keys(), "decimal subclass": Price("1"), "path with other bytes": pathlib.PurePath("a\udcff"),
    "named offset": datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1), "CET")),
    "tiny offset": offset(microseconds=-3), "other zone": datetime.datetime(2026, 1, 1, tzinfo=Zone()),
    "strided memoryview": memoryview(b"abcd")[::2], "unicode array": array.array("u", "aé"),
    "two dimensions": memoryview(b"abcd").cast("B", (2, 2)), "regex": __import__("re").compile("a"),
    "long fraction": Fraction(10**5000, 3), "object()": object(), "template": typing.TypeVar("T"),
}  # fmt: skip


@pytest.mark.parametrize("value", REFERRED.values(), ids=REFERRED)
def test_what_has_no_exact_form_goes_by_reference(value: Any) -> None:
    """And comes back as the very thing, wherever it stands."""
    shelf = Shelf()
    assert round_trip(value, shelf) is value
    back = round_trip([value, (1, value), Point(value, 1)], shelf)
    assert back[0] is value and back[1][1] is value and back[2].x is value
    assert [one is value for one in shelf.kept] == [True] * 4
    with pytest.raises(NoForm):
        Encoder(Context()).encode(value)


def test_an_encoder_has_no_memory_of_what_it_could_not_write() -> None:
    encoder = Encoder(Context())
    value = [Opaque()]
    for _ in range(2):
        with pytest.raises(NoForm, match="Opaque"):
            encoder.encode(value)
    value.clear()
    assert decoded(encoder.encode([value, value])) == [[], []]


def test_cycles_go_by_reference_where_they_close() -> None:
    cycle: list[Any] = [1]
    cycle.append({"a": (cycle,)})
    shelf = Shelf()
    back = round_trip(cycle, shelf)
    assert back[0] == 1 and back[1]["a"][0] is cycle
    order = Order("a")
    order.items = [order]
    assert round_trip(order, shelf).items[0] is order
    own: collections.deque[Any] = collections.deque()
    own.append(own)
    assert round_trip(own, shelf)[0] is own
    assert [type(one) for one in shelf.kept] == [list, Order, collections.deque]


def in_deque(inner: Any) -> Any:
    return collections.deque([inner])


def in_order(inner: Any) -> Any:
    return Order(inner)


@pytest.mark.parametrize("kind", [list, tuple, dict, in_deque, in_order])
@pytest.mark.parametrize("depth", [MAX_DEPTH // 2, MAX_DEPTH, MAX_DEPTH + 1, MAX_DEPTH * 2, 10_000])
def test_what_is_nested_deeply_goes_by_reference_from_there(kind: Any, depth: int) -> None:
    shelf = Shelf()
    value: Any = None
    for _ in range(depth):
        value = nested(1, value, dict) if kind is dict else kind([value]) if isinstance(kind, type) else kind(value)
    data = Encoder(shelf).encode(value)
    assert len(shelf.kept) == (depth > (MAX_DEPTH if kind is not in_deque else MAX_DEPTH // 2))
    back = Decoder(shelf).decode(data)
    assert type(back) is type(value)
    while value is not None and value is not back:
        value, back = _inner(value), _inner(back)
    assert value is back


def _inner(one: Any) -> Any:
    """What is in a container of one value."""
    return next(iter(vars(one).values() if type(one) is Order else one.values() if type(one) is dict else one))


# --- which classes are made -------------------------------------------------------------------------------------------

MADE: list[str] = []


@dataclasses.dataclass
class Loud:
    """Tells what code of it has run."""

    name: str
    size: int = 3

    def __post_init__(self) -> None:
        MADE.append("post_init")

    def __new__(cls, *args: Any, **kwargs: Any) -> Loud:
        MADE.append("new")
        return object.__new__(cls)

    def __setattr__(self, name: str, value: Any) -> None:
        MADE.append("setattr")
        object.__setattr__(self, name, value)


class LoudPlain:
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        MADE.append("init")

    def __setstate__(self, state: Any) -> None:
        MADE.append("setstate")

    def __reduce__(self) -> Any:
        MADE.append("reduce")
        return print, ("a",)


class Outer:
    @dataclasses.dataclass
    class Inner:
        value: int

    class Kind(enum.Enum):
        ONE = 1


@dataclasses.dataclass
class Partial:
    name: str
    late: int = dataclasses.field(init=False)
    fixed: int = dataclasses.field(init=False, default=7)


class Model:
    """Has what tells a pydantic model from another class."""

    model_fields: typing.ClassVar[dict[str, Any]] = {"a": int}

    @classmethod
    def model_construct(cls, **values: Any) -> Model:
        made = cls()
        made.__dict__.update(values)
        return made


def test_a_dataclass_is_made_without_running_its_code() -> None:
    loud = Loud("a")
    MADE.clear()
    back = round_trip(loud)
    assert back == loud and type(back) is Loud and not MADE


@pytest.mark.parametrize(
    "value", [Outer.Inner(1), Outer.Kind.ONE, Slotted([1]), Frozen(1), Both({}), Point(1, 2), Colour.RED]
)
def test_classes_are_found_by_their_qualified_names(value: Any) -> None:
    assert same(round_trip(value), value)
    assert loaded_class(f"{type(value).__module__}.{type(value).__qualname__}") is type(value)


def test_fields_that_are_not_set_stay_so() -> None:
    back = round_trip(Partial("a"))
    assert vars(back) == {"name": "a", "fixed": 7} and back.fixed == 7 and not hasattr(back, "late")


def test_a_model_is_made_as_models_are() -> None:
    back = round_trip(Model.model_construct(a=1, b=[2]))
    assert type(back) is Model and vars(back) == {"a": 1, "b": [2]}


@pytest.mark.parametrize(
    "name",
    [f"{HERE}.LoudPlain", f"{HERE}.Opaque", f"{HERE}.Bag", f"{HERE}.Failure", f"{HERE}.Fault", "builtins.object",
     "builtins.list", "builtins.type", "builtins.BaseException", "subprocess.Popen", "os._wrap_close", "types.CodeType",
     "types.FunctionType", "functools.partial", "builtins.memoryview", "pathlib.Path", "decimal.Decimal",
     "builtins.dict", "collections.ChainMap", "weakref.ref", "builtins.eval", "os.system", "builtins.staticmethod",
     "", ".", "a", "no.such.module", f"{HERE}.Absent", f"{HERE}..Opaque", f"{HERE}.Outer", f"{HERE}.MADE",
     "x" * 100_000,
     "a" + ".b" * 100_000, f"{HERE}.Loud.__init__", f"{HERE}.Loud.__class__", "os.path.join", "é.\udc80"],
)  # fmt: skip
def test_no_other_class_is_made(name: str) -> None:
    """What a writer of messages names is shown as a record, and no code has run."""
    MADE.clear()
    back = decoded(record(name, name="a", args=(1,)))
    assert type(back) is Record and (back.name, back.args) == ("a", (1,)) and not MADE  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["antigravity.Fly", "this.that", "turtle.Turtle", "idlelib.run.Executive"])
def test_nothing_is_imported_for_a_name(name: str) -> None:
    assert type(decoded(record(name))) is Record
    assert loaded_class(name) is None and name.partition(".")[0] not in sys.modules


class Nobody(Context):
    """Knows no class."""

    def find_class(self, name: str) -> Any:
        return None


def test_the_context_decides_which_classes_there_are() -> None:
    decoder = Decoder(Nobody())
    for value in (Order("a", 1), Point(1), Colour.RED, Both(1)):
        back = decoder.decode(Encoder(Nobody()).encode(value))
        assert type(back) is Record
    assert decoder.decode(Encoder(Nobody()).encode(range(3))) == range(3), "Python's own need no looking up"


def test_a_record_shows_what_it_holds() -> None:
    back = Decoder(Nobody()).decode(Encoder(Nobody()).encode(Order("a", [Colour.RED])))
    name = f"{Order.__module__}.Order"
    assert back.name == "a" and back.items[0].value == "r"
    assert repr(back) == f"{name}(name='a', items=[{Colour.__module__}.Colour(value='r')])"
    assert back == Record(name, {"name": "a", "items": [Record(f"{Colour.__module__}.Colour", {"value": "r"})]})
    assert back != Record(name, {"name": "a"}) and back != Record("other", vars(back)) and back != 5


@pytest.mark.parametrize(
    ("name", "values"),
    [
        (f"{Point.__module__}.Point", {"x": 1}), (f"{Point.__module__}.Point", {}),
        (f"{Order.__module__}.Order", {"other": 1}), (f"{Order.__module__}.Order", {"__class__": 1}),
        (f"{Slotted.__module__}.Slotted", {"more": 1}), (f"{Colour.__module__}.Colour", {"value": "none such"}),
        (f"{Colour.__module__}.Colour", {"value": []}), (f"{Colour.__module__}.Colour", {}),
        ("builtins.range", {"start": "a", "stop": 1, "step": 1}), ("builtins.range", {"start": 0}),
        ("builtins.range", {"start": 0, "stop": 1, "step": 0}), ("builtins.slice", {"start": 0}),
        ("collections.deque", {"items": [1], "maxlen": -1}), ("collections.deque", {"items": [1], "maxlen": 2**70}),
        ("collections.deque", {"items": 5, "maxlen": None}), ("collections.deque", {"items": [1]}),
        ("collections.deque", {"items": range(10**15), "maxlen": None}), ("collections.Counter", {"items": [1]}),
        ("collections.OrderedDict", {"items": "a"}), ("collections.OrderedDict", {}),
        ("collections.defaultdict", {"items": {}, "default_factory": 5}), ("collections.defaultdict", {"items": {}}),
        ("collections.UserDict", {"items": [1]}), ("collections.UserList", {"items": range(10**15)}),
        ("builtins.mappingproxy", {"items": [1]}), ("types.SimpleNamespace", {"items": {1: 2}}),
        ("types.SimpleNamespace", {"items": {"__wrapped__": 1}}),
        ("time.struct_time", {"items": (1,), "more": {}}), ("time.struct_time", {"items": 5, "more": 5}),
    ],
)  # fmt: skip
def test_records_that_do_not_fit_their_class_are_malformed(name: str, values: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        decoded(record(name, **values))


# --- what has no exact form -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [{Colour.RED: 1}, {Point(1, 2)}, {frozenset({Both(1)})}], ids=repr)
def test_records_of_unknown_classes_are_keys_and_members(value: Any) -> None:
    back = Decoder(Nobody()).decode(Encoder(Nobody()).encode(value))
    assert len(back) == 1


def test_a_record_can_be_sent_back() -> None:
    back = Decoder(Nobody()).decode(Encoder(Nobody()).encode(Order("a", 1)))
    assert same(round_trip(back), Order("a", 1))


class Shy:
    @property  # type: ignore[misc]
    def __class__(self) -> type:
        raise ZeroDivisionError


class Stubborn:
    def __get__(self, owner: Any, kind: Any = None) -> Any:
        if owner is None:
            return 1
        raise ZeroDivisionError

    def __set__(self, owner: Any, value: Any) -> None:
        pass


@dataclasses.dataclass
class Failing:
    field: Any = Stubborn()


def released() -> memoryview:
    view = memoryview(b"a")
    view.release()
    return view


@pytest.mark.parametrize("make", [Shy, Failing, released])
def test_a_value_whose_own_code_fails_goes_by_reference(make: Any) -> None:
    value = make()
    assert round_trip(value, Shelf()) is value


class Tagged(tuple[Any, ...]):
    _fields = ("a",)


class Named(collections.namedtuple("Named", "a")):
    """Has a dict, since it doesn't say that it has no slots."""


class Hidden:
    __slots__ = ("hidden",)


@dataclasses.dataclass(slots=True)
class Revealed(Hidden):
    shown: int


def with_more(value: Any, name: str) -> Any:
    setattr(value, name, 5)
    return value


@pytest.mark.parametrize(
    "value",
    [Tagged((1, 2)), with_more(Named(1), "more"), with_more(Revealed(1), "hidden"),
     with_more(collections.OrderedDict(a=1), "more"), with_more(collections.OrderedDict(a=1), "data"),
     with_more(collections.UserDict(a=1), "more")],
    ids=["tuple", "named tuple", "slots", "OrderedDict", "OrderedDict's data", "UserDict"],
)  # fmt: skip
def test_what_has_more_than_its_fields_goes_by_reference(value: Any) -> None:
    assert round_trip(value, Shelf()) is value


@pytest.mark.parametrize(
    ("name", "values"),
    [("pandas.Timedelta", {"value": 1500, "unit": "ms"}), ("pandas.Timestamp", {"value": 0, "unit": "s", "zone": None}),
     ("pandas.NaTType", {}), ("pandas.Period", {"ordinal": 672, "freq": "M"})],
)  # fmt: skip
def test_a_scalar_of_pandas_is_a_record_where_pandas_is_not_loaded(name: str, values: dict[str, Any]) -> None:
    record = Record(name, values)
    assert Decoder(Context()).decode(Encoder(Context()).encode(record)) == record
