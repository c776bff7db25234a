"""Functions of exact numbers, which show what they are given."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any, Optional

import pydantic


@dataclass
class Order:
    price: Decimal
    weight: float = 0.0
    more: list[Order] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"Order({str(self.price)!r}, {self.weight}, {self.more})"


class Model(pydantic.BaseModel):
    price: Decimal
    weight: float


def price(x: Optional[Decimal]) -> str:
    return repr(x)


def fraction(x: Fraction) -> str:
    return repr(x)


def prices(x: list[Decimal]) -> str:
    return repr(x)


def named(x: dict[str, Decimal]) -> str:
    return repr(x)


def both(x: Decimal, y: Any) -> str:
    return repr((x, y))


def order(x: Order) -> str:
    return repr(x)


def model(x: Model) -> str:
    return repr(x)


def any_number(x) -> str:  # type: ignore[no-untyped-def]
    return repr(x)
