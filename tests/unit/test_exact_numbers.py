"""A JSON number for a Decimal or a Fraction is the number that was written, on every face with a JSON body."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.api.httpbody_pb2 import HttpBody

from jac_orc.v1 import module_pb2
from tests.unit.guest_parts import Parts, names_of, parts, refusal

LONG = "0.12345678901234567890123"


@pytest.fixture(scope="module")
def guest() -> Iterator[Parts]:
    folder = str(Path(__file__).parents[1] / "guests")
    sys.path.insert(0, folder)
    try:
        with parts(names_of("orc_unit_exact")) as made:
            yield made
    finally:
        sys.path.remove(folder)


def called(guest: Parts, method: str, arguments: str) -> Any:
    body = HttpBody(data=f'{{"method":"{method}","args":{arguments}}}'.encode())
    answer = guest.call("CallJson", module_pb2.CallJsonRequest(body=body))
    return json.loads(module_pb2.CallJsonResponse.FromString(answer).body.data)["result"]


@pytest.mark.parametrize(
    ("method", "arguments", "shown"),
    [
        ("price", f"[{LONG}]", f"Decimal('{LONG}')"), ("price", "[1E-400]", "Decimal('1E-400')"),
        ("price", "[1e400]", "Decimal('1E+400')"), ("price", "[1e999999999]", "Decimal('1E+999999999')"),
        ("price", f"[{10**30 + 1}]", f"Decimal('{10**30 + 1}')"), ("price", "[-0.10]", "Decimal('-0.10')"),
        ("price", '["0.10"]', "Decimal('0.10')"), ("price", "[null]", "None"),
        ("fraction", "[0.1]", "Fraction(1, 10)"),
        ("prices", f"[[{LONG},1]]", f"[Decimal('{LONG}'), Decimal('1')]"),
        ("named", f'[{{"a":{LONG}}}]', f"{{'a': Decimal('{LONG}')}}"),
        ("both", f"[{LONG},{LONG}]", f"(Decimal('{LONG}'), {float(LONG)!r})"),
        ("order", f'[{{"price":{LONG},"weight":{LONG},"more":[{{"price":1E-400}}]}}]',
         f"Order({LONG!r}, {float(LONG)!r}, [Order('1E-400', 0.0, [])])"),
        ("model", f'[{{"price":{LONG},"weight":0.5}}]', f"Model(price=Decimal('{LONG}'), weight=0.5)"),
        ("any_number", f"[{LONG}]", repr(float(LONG))),
    ],
)  # fmt: skip
def test_numbers(guest: Parts, method: str, arguments: str, shown: str) -> None:
    assert called(guest, method, arguments) == shown


def test_named_arguments_and_the_original_route(guest: Parts) -> None:
    named, listed = HttpBody(data=b'{"x":%b}' % LONG.encode()), HttpBody(data=b'{"args":[%b]}' % LONG.encode())
    for rpc, request in (
        ("CallNamed", module_pb2.CallNamedRequest(method_name="price", body=named)),
        ("RunModule", module_pb2.RunModuleRequest(method_name="price", body=listed)),
    ):
        assert LONG.encode() in guest.call(rpc, request)


@pytest.mark.parametrize(
    ("method", "arguments", "reason"),
    [
        ("any_number", "[1e400]", "MALFORMED_REQUEST"), ("both", "[0.1, 1e400]", "MALFORMED_REQUEST"),
        ("price", "[1e99999999999999999999]", "ARGUMENT_NOT_CONVERTIBLE"),
        ("fraction", "[1e999999999]", "ARGUMENT_NOT_CONVERTIBLE"), ("price", "[[0.1]]", "ARGUMENT_NOT_CONVERTIBLE"),
    ],
)  # fmt: skip
def test_numbers_that_are_refused(guest: Parts, method: str, arguments: str, reason: str) -> None:
    assert refusal(called, guest, method, arguments)["reason"] == reason
