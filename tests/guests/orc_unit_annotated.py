"""Functions and classes with annotations of all kinds, as texts."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, DefaultDict, Final, NamedTuple, NewType, Optional, TypedDict, TypeVar, Union

if TYPE_CHECKING:
    from nowhere import Missing

Day = NewType("Day", date)
D = TypeVar("D", bound=date)


@dataclass
class Point:
    x: float
    y: float = 0


@dataclass
class Scaled:
    x: int
    factor: InitVar[int] = 1
    on: Optional["date"] = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self, factor: int) -> None:
        self.x *= factor


class Nest:
    """Whose methods name what is in it, and have names of the module's."""

    @dataclass
    class Egg:
        laid: date

    When = date

    def Decimal(self) -> None: ...  # noqa: N802

    def put(self, egg: Egg) -> Any: ...
    @staticmethod
    def many(eggs: Sequence[Optional[Egg]]) -> Any: ...
    @classmethod
    def at(cls, when: When) -> Any: ...
    def weigh(self, grams: Decimal) -> Any: ...


class Base:
    def __init__(self, on: date, weight: float = 1) -> None:
        self.on, self.weight = on, weight


class Child(Base):
    """Has its constructor from its base."""


class Made:
    def __new__(cls, on: date) -> Made:
        made = super().__new__(cls)
        made.on = on  # type: ignore[attr-defined]
        return made


class Tree(TypedDict):
    on: date
    left: Tree


class Pair(NamedTuple):
    first: Point
    second: float


def missing(thing: Missing, on: date, *more: Missing) -> Missing: ...
def optional(point: Optional["Point"]) -> Any: ...
def listed(points: list["Point"]) -> Any: ...
def number(x: float) -> Any: ...
def numbers(xs: list[float]) -> Any: ...
def whole(x: int) -> Any: ...
def wholes(xs: Sequence[int]) -> Any: ...
def maybe(x: float | None) -> Any: ...
def either(x: Union[int, float]) -> Any: ...
def text_or_float(x: Union[str, float]) -> Any: ...
def ordered(days: collections.OrderedDict[str, date]) -> Any: ...
def default(days: DefaultDict[str, list]) -> Any: ...
def counted(words: collections.Counter[str]) -> Any: ...
def final(on: Final[date]) -> Any: ...
def day(on: Day) -> Any: ...
def bound(on: D) -> Any: ...
def mapped(days: Mapping[int, date]) -> Any: ...
def scaled(one: Scaled) -> Any: ...
def pair(two: Pair) -> Any: ...
def tree(tree: Tree) -> Any: ...
def price(amount: Decimal) -> Any: ...
