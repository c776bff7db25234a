"""Functions whose annotations lead elsewhere: generics, aliases, unions, what `typing` and its kin have."""

import collections
import datetime
import enum
import functools
import re
import types
from collections.abc import Container, Iterator, Mapping, Reversible
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import (
    Annotated,
    Any,
    ClassVar,
    DefaultDict,
    Dict,
    Generic,
    List,
    Literal,
    NamedTuple,
    Optional,
    Tuple,
    TypedDict,
    TypeVar,
    Union,
)
from zoneinfo import ZoneInfo

import attrs
import pydantic
from typing_extensions import NotRequired, ReadOnly, Required, Self, TypeAliasType, Unpack
from typing_extensions import TypeVar as Variable

T = TypeVar("T")
Day = TypeVar("Day", bound=date)
Defaulted = Variable("Defaulted", default=date)
Nested = Union[date, List["Nested"]]
Tree = TypeAliasType("Tree", Union[date, List["Tree"]])
Many = TypeAliasType("Many", List[T], type_params=(T,))


class Colour(enum.Enum):
    RED = "r"
    FIRST = date(2026, 1, 1)


class Level(enum.IntEnum):
    LOW = 1


@dataclass
class Box(Generic[T]):
    item: T


@dataclass
class Dated(Box[date]):
    note: str = ""


class Shelf(Generic[T]):
    def __init__(self, item: T) -> None:
        self.item = item

    def put(self, item: T) -> T:
        return item


class DateShelf(Shelf[date]):
    """Its type variable is known from its base."""


class First(NamedTuple, Generic[T]):
    first: T


class Film(TypedDict, Generic[T], total=False):
    on: Required[T]
    to: NotRequired[date]
    seen: ReadOnly[date]


class Options(TypedDict):
    on: date


@dataclass
class Node:
    on: date
    next: Optional[Self] = None
    kind: ClassVar[int] = 1
    hidden: int = field(init=False, default=3)


@dataclass
class Other:
    name: str


class Open:
    """Takes its arguments in its `__init__`, whatever its `__new__` says."""

    def __new__(cls, *args: Any, **kwargs: Any) -> "Open":
        return super().__new__(cls)

    def __init__(self, on: date) -> None:
        self.on = on


class Meta(type):
    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*args, **kwargs)


class WithMeta(metaclass=Meta):
    def __init__(self, on: date) -> None:
        self.on = on


class Methods:
    def one(self, on: date) -> Any: ...

    part = functools.partialmethod(one)

    @classmethod
    def of_class(cls, on: date) -> Any: ...

    @staticmethod
    def alone(on: date) -> Any: ...

    @functools.lru_cache  # noqa: B019 - what is tried
    def cached(self, on: date) -> Any: ...

    def __call__(self, on: date) -> Any: ...


@attrs.define
class Loan:
    _on: date
    days: int = attrs.field(converter=int, default=0)
    due: date = attrs.field(alias="until", default=None)  # type: ignore[assignment]


class Model(pydantic.BaseModel):
    on: date = pydantic.Field(alias="day")
    price: Decimal = Decimal(0)


class Days(pydantic.RootModel[List[date]]):
    """A model of a list."""


def box(x: Box[date]) -> Any: ...
def boxes(x: "Box[Box[Optional[date]]]") -> Any: ...
def dated(x: Dated) -> Any: ...
def first(x: First[date]) -> Any: ...
def film(x: Film[date]) -> Any: ...
def node(x: Node) -> Any: ...
def nested(x: Nested) -> Any: ...
def tree(x: Tree) -> Any: ...
def many(x: Many[date]) -> Any: ...
def defaulted(x: Defaulted) -> Any: ...
def implicit(on: date = None) -> Any: ...  # type: ignore[assignment]  # noqa: RUF013
def unpacked(**options: Unpack[Options]) -> Any: ...
def several(*items: Unpack[Tuple[date, float]]) -> Any: ...
def days(*days: date, **more: date) -> Any: ...
def loan(x: Loan) -> Any: ...
def model(x: Model) -> Any: ...
def root(x: Days) -> Any: ...
def colour(x: Colour) -> Any: ...
def literal(x: Literal[Colour.RED, b"a", 1, None]) -> Any: ...
def plain_literal(x: Literal["a", "b"]) -> Any: ...
def levels(x: Dict[Level, str]) -> Any: ...
def maybe_keys(x: Dict[Optional[int], str]) -> Any: ...
def flags(x: Dict[bool, Annotated[date, []]]) -> Any: ...
def pairs(x: Mapping[Tuple[int, int], date]) -> Any: ...
def which_list(x: Union[List[int], List[date]]) -> Any: ...
def list_or_date(x: Union[List[date], date]) -> Any: ...
def texts_or_dates(x: Union[List[str], List[date]]) -> Any: ...
def which_class(x: Union[Other, Node, None]) -> Any: ...
def list_or_dict(x: Union[List[Other], Dict[str, Other]]) -> Any: ...
def date_or_int(x: Union[date, int]) -> Any: ...
def iterated(x: Iterator[date]) -> Any: ...
def reversible(x: Reversible[date]) -> Any: ...
def contained(x: Container[date]) -> Any: ...
def default(x: DefaultDict[str, List[date]]) -> Any: ...
def chained(x: collections.ChainMap[str, date]) -> Any: ...
def proxied(x: "types.MappingProxyType[str, date]") -> Any: ...
def namespace(x: types.SimpleNamespace) -> Any: ...
def words(x: collections.Counter) -> Any: ...  # type: ignore[type-arg]
def zone(x: ZoneInfo) -> Any: ...
def any_zone(x: datetime.tzinfo) -> Any: ...
def pattern(x: re.Pattern[str]) -> Any: ...
def path(x: Optional[Path]) -> Any: ...


class Days(List[date]):
    pass


class ByName(Dict[str, "Other"]):
    pass


class Register(collections.OrderedDict[str, T], Generic[T]):
    pass


class Name(str):
    __slots__ = ()


class Cents(Decimal):
    pass


class Upper(str):
    __slots__ = ()

    def __new__(cls, text: str, *, ending: str) -> Self:
        return super().__new__(cls, text.upper() + ending)


def own_list(x: Days) -> Any: ...
def own_dict(x: ByName) -> Any: ...
def own_ordered(x: Register[date]) -> Any: ...
def own_text(x: Name) -> Any: ...
def own_number(x: Cents) -> Any: ...
def own_maker(x: Upper) -> Any: ...


@functools.singledispatch
def dispatched(x: date) -> Any: ...


@dispatched.register
def _(x: int) -> Any: ...


def fraction(x: Fraction) -> Any: ...
def prices(x: List[Decimal], y: float = 0) -> Any: ...
def priced(x: Box[Decimal]) -> Any: ...


evaluations: list[int] = []


def note() -> Any:
    evaluations.append(1)
    return date


def counting(x: "note()") -> Any: ...  # type: ignore[valid-type]  # noqa: F722


class Counted:
    def __call__(self, x: "note()") -> Any: ...  # type: ignore[valid-type]  # noqa: F722

    def method(self, x: "note()") -> Any: ...  # type: ignore[valid-type]  # noqa: F722


def gaps(a: Any = "a", b: Any = None, c: Any = None, /, d: Any = None) -> Any: ...
def needs(a: Any, b: Any = None, /) -> Any: ...


class Lying:
    __class__ = type  # type: ignore[assignment]
    __wrapped__ = 5
    __signature__ = "(x)"

    def __call__(self, x: Any) -> Any: ...


class Everything:
    """Has an answer to each name."""

    def __getattr__(self, name: str) -> Any:
        return Everything()

    def __call__(self, *args: Any) -> Any: ...


def in_a_circle(x: Any) -> Any: ...


in_a_circle.__wrapped__ = in_a_circle  # type: ignore[attr-defined]
in_a_circle.__annotations__ = {"x": Everything()}
