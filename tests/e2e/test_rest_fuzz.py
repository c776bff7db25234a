"""Whatever comes to the front port over HTTP is answered by a result, or refused with a reason, and harms nothing.

The system of these tests deploys nothing by itself and installs nothing, so that a name that happens to be legal has no
effect. What is sent, and what may come back, is in `rest_fuzz`.
"""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.e2e.rest_fuzz import (
    DEPLOYED,
    JSON_TYPE,
    METHODS,
    MODULES,
    OBJECTS,
    SECONDS,
    Front,
    Request,
    check_failure,
    faults,
    requests,
)
from tests.e2e.system import System


@pytest.fixture(scope="module")
def front(closed_system: System) -> Iterator[Front]:
    """A system with a few modules, whose logs must tell of no fault at the end."""
    for module in DEPLOYED:
        closed_system.remove(module)
        assert closed_system.post(f"/create_pod/{module}", {}).status_code == 200
    known = faults(closed_system)
    yield Front(closed_system)
    assert faults(closed_system) == known


@pytest.fixture(autouse=True)
def unharmed(front: Front) -> Iterator[None]:
    """After each test all is as it was before all of them."""
    yield
    front.check_unharmed()


def bounded(examples: int) -> settings:
    """So many examples, others in each run."""
    return settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize(
    ("line", "body", "expected"),
    [
        ("POST /run_module?module_name=math&method_name=sqrt", b'{"args":[9]}', {"result": 3.0}),
        ("POST /modules/orc_guest_values/seen", b'{"argument":9}', {"result": "9"}),
        ("POST /v1/modules/math:call", b'{"method":"gcd","args":[4,6]}', {"result": 2}),
        ("POST /v1/modules/%6d%61th:call?timeout=5S", b'{"method":"gcd","args":[4,6]}', {"result": 2}),
        ("GET /v1/modules?page_size=1000", b"", {"next_page_token": ""}),
        ("DELETE /v1/modules/os", b"", 404),
        ("POST /v1/objects/x:renew", b"{}", 404),
        ("GET /v1/modules/math/proto", b"", 501),
        ("POST /v1/modules/orc_guest_values:call", b'{"method":"raising","args":["OSError"]}', 500),
        ("POST /v1/modules/orc_guest_values:call", b'{"method":"raising","args":["TimeoutError"]}', 504),
    ],
)
def test_requests_as_they_should_be(front: Front, line: str, body: bytes, expected: Any) -> None:
    """What is sent below would be understood, and what is allowed below comes about."""
    verb, _, target = line.partition(" ")
    answer = front.check(Request(verb, target.encode(), [JSON_TYPE] if verb == "POST" else [], body))
    if isinstance(expected, int):
        assert answer.status == expected
    else:
        assert answer.status == 200
        assert expected.items() <= json.loads(answer.body).items()


# --- paths ---

VERBS = [*"GET HEAD POST PUT PATCH DELETE OPTIONS TRACE CONNECT QUERY post Get".split(), "X" * 50]
PIECES = [
    b"/", b"//", b"/./", b"/../", b"/..;/", b";x=1", b"%2f", b"%2F..%2F", b"%00", b"%", b"%zz", b"%c0%af", b"%ff",
    b"%0d%0ax-module:os", b"\\", b"?", b"??", b"&", b":", b":call", b"/v1", b"*", b"a" * 8000, b"\xc3\xa9", b"\xff",
    b"%25", b"+", b"#", b"|", b'"', b"<", b"{m}", b"[", b"'", b"/" * 500,
]  # fmt: skip


@st.composite
def odd_paths(draw: st.DrawFn) -> Request:
    """A request whose path, or verb, is not quite the route's."""
    request = draw(requests())
    kind = draw(st.integers(0, 5))
    if kind == 0:
        request.verb = draw(st.sampled_from(VERBS))
    elif kind == 1:
        request.target = (
            draw(st.sampled_from([b"http://localhost", b"//localhost", b"http://[", b"x"])) + request.target
        )
    else:
        for _ in range(kind // 2):
            at = draw(st.integers(1, len(request.target)))
            request.target = request.target[:at] + draw(st.sampled_from(PIECES)) + request.target[at:]
    return request


@bounded(600)
@given(odd_paths())
def test_paths(front: Front, sent: Request) -> None:
    assume(sent.is_harmless)
    front.check(sent)


# --- queries ---

FIELDS = """
    module_name method_name obj_id timeout wait page_size page_token follow tail body body.data body.content_type x $alt
    moduleName module_name[] timeout.seconds
""".split()  # fmt: skip
VALUES = [
    *"math|sqrt|x||true|maybe|0|-1|1|99999999999999999999|1e3|NaN|500m|30S|0m|-1S|999999999S|1H1M|%00|%0d%0a|%ff".split("|"),
    *["%", "%zz", "a%20b", "a+b", "[]", "{}", "%2500", "'", '"', "<", "..", "/", "=", "os", "-", "é", "x" * 5000],
]  # fmt: skip


@st.composite
def odd_queries(draw: st.DrawFn) -> Request:
    """A request whose query has fields that it doesn't know, twice, empty, or of another type."""
    request = draw(requests())
    path, mark, query = request.target.partition(b"?")
    parts = [query] if mark else []
    for name in draw(st.lists(st.sampled_from([*FIELDS, ""]), min_size=1, max_size=4)):
        parts.append(f"{name}{draw(st.sampled_from(['=', '=', '', '==']))}{draw(st.sampled_from(VALUES))}".encode())
    between = draw(st.sampled_from([b"&", b"&", b"&", b";", b"&&", b"&?"]))
    request.target = path + b"?" + between.join(draw(st.permutations(parts)))
    return request


@bounded(500)
@given(odd_queries())
def test_queries(front: Front, sent: Request) -> None:
    assume(sent.is_harmless)
    front.check(sent)


# --- headers ---

TYPES = "; charset=utf-8|;charset=utf-16|p|, text/plain|/x| "
HEADERS = {
    "content-type": "text/plain|text/html, application/json|multipart/form-data|APPLICATION/JSON||;|application/json"
    + "".join(f"|application/json{end}" for end in TYPES.split("|")),
    "grpc-timeout": "1S|500m|0m|0H|99999999H|999999999S|-1S|soon||1|S|1S1S|1 S|1s|0x1S",
    "x-module": "math|orc_guest_values|podmgr|mod:math|xds|os|../x|nowhere.at.all||math, math|{long}|Math|é",
    "x-pod": "127.0.0.1:1|127.0.0.1|evil.example:80|:|{long}||127.0.0.1:99999|[::1]:80",
    "host": "localhost|127.0.0.1:80|evil.example|math.modules.local|os.modules.local|.modules.local||[::1]|a b|{long}",
    "origin": "http://localhost|http://127.0.0.1:80|https://evil.example|null||http://localhost.evil.example",
    "sec-fetch-site": "cross-site|same-origin||Cross-Site",
    "x-envoy-original-path": "/v1/modules/os|x|",
    "x-envoy-original-method": "GET|DELETE|",
    "x-envoy-upstream-rq-timeout-ms": "1|0|x",
    "x-envoy-max-retries": "1000000",
    "x-envoy-retry-on": "5xx,gateway-error",
    "x-http-method-override": "DELETE|PATCH",
    "x-forwarded-for": "1.2.3.4|x|{long}",
    "x-forwarded-host": "evil.example",
    "x-forwarded-proto": "https|gopher",
    "x-request-id": "x||{long}",
    "x-jac-orc-sent-on": "1|",
    "te": "trailers|gzip|",
    "trailer": "x",
    "connection": "close|keep-alive|upgrade|x-module|host, content-type|",
    "upgrade": "websocket|h2c|TLS/1.0|",
    "expect": "100-continue|200-ok",
    "accept": "text/html|application/json|*/*|x/y;q=2|",
    "accept-encoding": "gzip|br|identity;q=0|*",
    "content-encoding": "gzip|br|x",
    "grpc-encoding": "gzip|deflate|identity|x||{long}",
    "grpc-accept-encoding": "gzip|x",
    "grpc-status": "0|13|x|",
    "grpc-message": "%zz|x",
    "grpc-status-details-bin": "AAAA|*|",
    "grpc-previous-rpc-attempts": "1|x|",
    "grpc-trace-bin": "*|",
    "grpc-internal-x": "x",
    "x-other-bin": "AAAA|*|é|",
    "x-other": "a, b|{long}|{longest}|é|\t",
    "authorization": "Basic x|",
    "cookie": "a=b; c|é",
    "range": "bytes=0-0",
    "content-length": "0",
    ":path": "/v1/modules/os",
    "user-agent": "",
    "a" * 500: "x",
}
ODD_HEADERS = [
    (name.encode(), value.replace("{longest}", "x" * 70_000).replace("{long}", "x" * 5000).encode())
    for name, values in HEADERS.items()
    for value in values.split("|")
]


@st.composite
def odd_headers(draw: st.DrawFn) -> Request:
    """A request with headers that lie, are repeated, malformed or long, or aren't the client's to set."""
    request = draw(requests())
    if draw(st.integers(0, 3)) == 0:
        request.headers.clear()
    for name, value in draw(st.lists(st.sampled_from(ODD_HEADERS), min_size=1, max_size=4)):
        spelled = draw(st.sampled_from([name, name, name.upper(), name.title()]))
        request.headers += [(spelled, value)] * draw(st.sampled_from([1, 1, 1, 2]))
    many = draw(st.sampled_from([0, 0, 0, 0, 90, 200]))
    request.headers += [(b"x-number-%d" % number, b"x") for number in range(many)]
    return request


@bounded(500)
@given(odd_headers())
def test_headers(front: Front, sent: Request) -> None:
    assume(sent.is_harmless)
    front.check(sent)


# --- bodies ---

KEYS = [
    "method",
    "args",
    "kwargs",
    "obj_id",
    "$bytes",
    "$value",
    "x",
    "data",
    "argument",
    "kind",
    "lease",
    "replicas",
    "",
]
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9),
    st.sampled_from([10**400, -(2**64), 1e308, "\ud800", "\0", "$bytes", "ValueError", "MemoryError", "TimeoutError"]),
)  # fmt: skip
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=8,
)
CALLS = st.fixed_dictionaries(
    {"method": METHODS},
    optional={"args": st.lists(DOCUMENTS, max_size=2), "kwargs": DOCUMENTS, "obj_id": OBJECTS, "more": DOCUMENTS},
)
SPECS = st.fixed_dictionaries(
    {"module_name": MODULES | SCALARS},
    optional={
        **dict.fromkeys(["replicas", "workers", "timeout", "python_version", "queue", "max_concurrency"], SCALARS),
        **dict.fromkeys(["env", "labels", "requirements", "secrets", "resources", "source", "expose"], DOCUMENTS),
    },
)
OF_NO_FORM = [
    b"", b" \n\t ", b"\0", b"true", b'"', b"{'args':[1]}", b'{"args":[01]}', b'{"args":[NaN]}',
    b'{"x":' * 200 + b"1" + b"}" * 200,
    b'{"method":"seen","args":[1e999999,-0,1E400]}', b'{"method":"seen","args":["\\ud800"]}', b'{"method":"seen"}//',
    b'{"method":"seen","method":"pi"}', b'{"method":"seen","args":[1],}', b'{"module_name":"os","module_name":"math"}',
    b'{"method":"seen","args":["%b"]}' % (b"x" * 300_000), b'{"method":"seen","args":[%b]}' % (b"9" * 5000),
    b'{"method":"seen","args":%b' % (b"[" * 5000), b"[" * 100_000 + b"]" * 100_000, b"--x\r\n\r\n{}\r\n--x--",
]  # fmt: skip


@st.composite
def odd_bodies(draw: st.DrawFn) -> Request:
    """A request with any JSON as its body, which more often than not is harmed."""
    request = draw(requests())
    document = draw(st.one_of(DOCUMENTS, CALLS, SPECS))
    data = json.dumps(document, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    place = draw(st.integers(0, len(data)))
    harmed = [
        data[:place], data[:place] + b"\xff" + data[place:], data + data, b"\xef\xbb\xbf" + data, b"\0" + data,
        data.decode("utf-8", "replace").encode("utf-16"), gzip.compress(data), b"[%b]" % data,
        b'{"method":"seen","args":[%b]}' % data, b'{"args":[%b]}' % data, b'{"argument":%b}' % data,
    ]  # fmt: skip
    request.body = draw(st.one_of(st.just(data), st.sampled_from(harmed), st.sampled_from(OF_NO_FORM)))
    if draw(st.integers(0, 5)) == 0:
        request.headers.append((b"content-encoding", b"gzip"))
    return request


@bounded(500)
@given(odd_bodies())
def test_bodies(front: Front, sent: Request) -> None:
    assume(sent.is_harmless)
    front.check(sent)


# --- what is hardly HTTP ---

CHUNKED = b"transfer-encoding: chunked\r\n"
LENGTH = b"content-length: "
FRAMINGS = [
    *[LENGTH + text + b"\r\n" for text in b"0|5|1000|-1|99999999999999999999|0x9|+9||5, 5|5 5|x".split(b"|")],
    LENGTH + b"5\r\n" + LENGTH + b"6\r\n", LENGTH + b"5\r\n" + LENGTH + b"5\r\n", CHUNKED + LENGTH + b"5\r\n", b"",
    *[
        b"transfer-encoding: %b\r\n" % text
        for text in (b"identity", b"gzip, chunked", b"chunked, chunked", b"xchunked", b"")
    ],
    *[CHUNKED] * 12,
]  # fmt: skip


@st.composite
def odd_framings(draw: st.DrawFn) -> Request:
    """A request whose body is not as long as it says, or is cut into chunks that are none."""
    request = draw(requests())
    request.framing = draw(st.sampled_from(FRAMINGS))
    if CHUNKED in request.framing:
        chunk, end = b"%x\r\n%b\r\n" % (len(request.body), request.body), b"0\r\n\r\n"
        bodies = [
            chunk + end, chunk, chunk + b"0\r\n", end, b"", b"zz\r\n" + chunk, b"-1\r\n\r\n", b"0x5\r\n" + chunk,
            b"f" * 16 + b"\r\n", b"f" * 17 + b"\r\n", b"0;x\r\n\r\n", b"1;\r\n{\r\n1\r\n}\r\n" + end, b" 5\r\n" + chunk,
            chunk + b"0\r\nx-trailer: y\r\n\r\n", chunk + b"0\r\ncontent-length: 5\r\n\r\n", chunk.replace(b"\r", b""),
            b"5\r\n" + request.body + b"\r\n" + end, b"00000005\r\n{    }",
            chunk + b"0\r\n" + b"x: y\r\n" * 2000 + b"\r\n", request.body, chunk + end + b"GET / HTTP/1.1\r\n\r\n",
        ]  # fmt: skip
        request.body = draw(st.sampled_from(bodies))
    return request


@bounded(120)
@given(odd_framings())
def test_framings(front: Front, sent: Request) -> None:
    assume(sent.is_harmless)
    front.check_hardly_http(sent.raw(), sent)


LINE, END, POST = b" HTTP/1.1\r\n", b"\r\n\r\n", b"POST "
LINES = [" HTTP/1.0\r\n", "\r\n", " HTTP/2.0\r\n", " HTTP/9.9\r\n", " http/1.1\r\n", " HTTP/1.1x\r\n"]
LINES += ["  HTTP/1.1 \r\n", "\tHTTP/1.1\r\n", " HTTP/1.1\n", " HTTP/1.1\r"]
HEADS = ["no colon", "x : y", ": y", "x: a\0b", "x: a\r\n folded", "\xff: y", "host: localhost"]
WORDS = [" POST ", "POST", "\r\n\r\nPOST ", "P\0ST ", "CONNECT ", "\x16\x03\x01\x02\0\x01\0\x01\xfc"]
MANGLINGS = [
    *[(LINE, line.encode()) for line in LINES],
    *[(END, f"\r\n{head}\r\n\r\n".encode("latin-1")) for head in HEADS],
    *[(POST, word.encode("latin-1")) for word in WORDS],
    *[(b"/", path) for path in (b" /", b"/\xc3\xa9\x80", b"/\0", b"")],
    *[(b"host: localhost\r\n", b""), (END, b"\r\n"), (END, b"\n\n")],
]
CHANGES = st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=2)), min_size=1, max_size=3)


@bounded(250)
@given(requests(), st.sampled_from(MANGLINGS) | CHANGES)
def test_what_is_hardly_http(front: Front, sent: Request, how: tuple[bytes, bytes] | list[tuple[int, bytes]]) -> None:
    assume(sent.is_harmless)
    data = sent.raw()
    if isinstance(how, tuple):
        data = data.replace(*how, 1)
    else:
        for place, instead in how:
            data = data[: place % len(data)] + instead + data[place % len(data) + 1 :]
    front.check_hardly_http(data, sent)


@pytest.mark.parametrize("target", [b"127.0.0.1:22", b"localhost:80", b"example.com:443"])
def test_no_tunnel_is_opened_nor_left_without_an_answer(front: Front, target: bytes) -> None:
    answer = front.send(b"CONNECT %b HTTP/1.1\r\nhost: %b\r\n\r\n" % (target, target), "GET")
    assert answer.status == 400
    check_failure(answer, set())


@pytest.mark.parametrize("follows", [b"", b"\0", b"\0" * 9, b"\xff" * 20, b"GET / HTTP/1.1\r\n\r\n"])
def test_http2_that_is_none(front: Front, follows: bytes) -> None:
    with socket.create_connection(("127.0.0.1", front.system.port), timeout=SECONDS) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + follows)
        connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(65536):  # until it is closed, in time
                pass


@pytest.mark.parametrize("kind", [b"application/grpc", b"application/grpc-web", b"application/grpc+json"])
@pytest.mark.parametrize("path", [b"/v1/modules/math:call", b"/nowhere", b"/jac_orc.v1.ModuleService/Call"])
def test_grpc_that_is_none(front: Front, kind: bytes, path: bytes) -> None:
    request = Request("POST", path, [(b"content-type", kind)], b'{"method":"pi"}')
    with socket.create_connection(("127.0.0.1", front.system.port), timeout=SECONDS) as connection:
        connection.sendall(request.raw())
        with contextlib.closing(http.client.HTTPResponse(connection)) as response:
            response.begin()
            assert response.status == 200
            assert response.headers["grpc-status"] in ("3", "12", "14")


# --- what was wrong once, and comes seldom above ---


@pytest.mark.parametrize("line", ["GET /v1/modules#x", "POST /v1/modules/math:call#", "QUERY /v1/modules"])
def test_every_refusal_has_a_message(front: Front, line: str) -> None:
    verb, _, target = line.partition(" ")
    sent = Request(verb, target.encode(), [JSON_TYPE] if verb == "POST" else [])
    assert 400 <= front.check(sent).status < 500


def test_an_upgrade_is_refused_for_what_it_is(front: Front) -> None:
    answer = front.check(Request("GET", b"/v1/modules", [(b"connection", b"upgrade"), (b"upgrade", b"websocket")]))
    assert 400 <= answer.status < 500
    assert b"HOST_NOT_ALLOWED" not in answer.body


def test_a_deadline_that_has_passed(front: Front) -> None:
    late = Request("POST", b"/v1/modules/math:call", [JSON_TYPE, (b"grpc-timeout", b"0m")], b'{"method":"pi"}')
    with ThreadPoolExecutor(8) as pool:
        assert {answer.status for answer in pool.map(lambda _: front.check(late), range(300))} == {504}


# FAULT: of one in some hundred of these the gRPC library tells the end, and without details; where that is mended,
# `front.check` can look at them.
@pytest.mark.parametrize("timeout", [b"1n", b"1m"])
def test_a_deadline_that_passes_at_once(front: Front, timeout: bytes) -> None:
    late = Request("POST", b"/v1/modules/math:call", [JSON_TYPE, (b"grpc-timeout", timeout)], b'{"method":"pi"}')
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: front.send(late.raw()), range(300)))
    ends = {(answer.status, json.loads(answer.body).get("code")) for answer in answers}
    assert (504, 4) in ends <= {(504, 4), (200, None)}


@pytest.mark.parametrize("name", ["x-other-bin", "grpc-encoding", "grpc-status", "grpc-previous-rpc-attempts"])
@pytest.mark.parametrize("line", ["POST /v1/modules/math:call", "POST /v1/modules:plan", "GET /v1/modules"])
def test_headers_that_mean_something_to_grpc(front: Front, line: str, name: str) -> None:
    verb, _, target = line.partition(" ")
    headers = [(name.encode(), b"*"), *([JSON_TYPE] if verb == "POST" else [])]
    assert front.check(Request(verb, target.encode(), headers, b"{}" if verb == "POST" else b"")).status < 500


@pytest.mark.parametrize("path", [b"/v1/modules/math:call", b"/v1/modules/m%61th:call"], ids=["direct", "activator"])
@pytest.mark.parametrize("header", [(b"cookie", b"\xe9"), (b"x-name", "é".encode()), (b"x-name", b"a\tb")], ids=str)
def test_headers_beyond_ascii(front: Front, path: bytes, header: tuple[bytes, bytes]) -> None:
    assert front.check(Request("POST", path, [JSON_TYPE, header], b'{"method":"pi"}')).status == 200


@pytest.mark.parametrize("coding", [b"identity", b"gzip, chunked", b"chunked, chunked", b"xchunked"])
def test_transfer_codings_that_are_none(front: Front, coding: bytes) -> None:
    request = Request(
        "POST", b"/v1/modules/math:call", [JSON_TYPE], b"0\r\n\r\n", b"transfer-encoding: %b\r\n" % coding
    )
    front.check_hardly_http(request.raw(), request)
