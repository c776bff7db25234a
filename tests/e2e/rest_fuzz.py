"""What `test_rest_fuzz` sends and how it judges what comes back.

A `Request` is written by hand on a socket, since no HTTP library would send most of them. A `Front` sends it, fails
unless the answer is one that the contract knows, and sees whether the system is as it was before. `requests` are those
that reach a route, with names of all kinds; the tests bend them further.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote, unquote_to_bytes

from hypothesis import strategies as st

from jac_orc.errors import REASONS
from tests.e2e.system import System, wait_until
from tests.feature.footprints import Footprint, footprint

SECONDS = 20.0  # also for what asks a package index, on a busy machine
DEPLOYED = ["math", "orc_guest_objects", "orc_guest_values"]
DEPLOYABLE = ["os", "_socket", "os.path"]
"""What a create would deploy, though no call does."""
JSON_TYPE = (b"content-type", b"application/json")
HTTP_STATUS = {2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 12: 501}
"""What Envoy makes of the gRPC codes that may come."""
OWN_STATUS = {"TOO_LARGE": {413, 431}, "CONTENT_TYPE_NOT_SUPPORTED": {415}, "MALFORMED_REQUEST": {426}}
"""What the front proxy says by itself."""
FAILURES = {
    500: {"EXCEPTION_RAISED"},
    501: {"EXCEPTION_RAISED", "NOT_IMPLEMENTED", "VALUE_NOT_REPRESENTABLE"},
    504: {"EXCEPTION_RAISED"},
}
"""The statuses from 500 on that are documented: what the module's own code raised, and what isn't there yet."""


@dataclass
class Request:
    """An HTTP/1.1 request; `framing` stands for the header that tells the body's length, and may lie."""

    verb: str
    target: bytes
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    framing: bytes | None = None

    def raw(self) -> bytes:
        """The bytes to send."""
        headers = list(self.headers)
        if not any(name.lower() == b"host" for name, _ in headers):
            headers.insert(0, (b"host", b"localhost"))
        framing = b"content-length: %d\r\n" % len(self.body) if self.framing is None else self.framing
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        return b"%b %b HTTP/1.1\r\n%b%b\r\n%b" % (self.verb.encode(), self.target, lines, framing, self.body)

    @property
    def is_harmless(self) -> bool:
        """Whether it leaves the deployed modules as they are, and deploys no other, if it is understood at all."""
        target = unquote_to_bytes(unquote_to_bytes(unquote_to_bytes(self.target)))
        text = target + self.body.replace(b"\0", b"")  # JSON may come as UTF-16
        changes = self.verb.upper() in ("DELETE", "PATCH") or b"scale" in target
        creates = b"create" in target or target.partition(b"?")[0].endswith((b"/modules", b"/modules/"))
        return not (
            (changes and any(name.encode() in text for name in DEPLOYED))
            or (creates and any(name.encode() in text for name in DEPLOYABLE))
        )

    @property
    def is_endless(self) -> bool:
        """Whether its answer may have no end."""
        return b"watch" in self.target or b"follow" in self.target


@dataclass
class Answer:
    """What came back; the status is 0 where the connection was closed without an answer."""

    status: int = 0
    kind: str = ""
    body: bytes = b""


class Front:
    """A system's front port, and what its processes have open."""

    def __init__(self, system: System) -> None:
        self.system = system
        for _ in range(20):  # what they open once is open then
            self.check_serving()
        self._modules = self._deployed()
        self._before = {pid: footprint(pid) for pid in system.parts()}

    def send(self, data: bytes, verb: str = "POST", *, is_whole: bool = True, is_endless: bool = False) -> Answer:
        """Sends the bytes on a connection of their own and reads one answer, which must come in time.

        Where they may be no whole request, their end is told by closing this side, upon which Envoy closes the other.
        """
        begin = time.monotonic()
        with socket.create_connection(("127.0.0.1", self.system.port), timeout=SECONDS) as connection:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused before it was read
                connection.sendall(data)
                if not is_whole:
                    connection.settimeout(0.1)
                    with contextlib.suppress(TimeoutError):
                        connection.recv(1, socket.MSG_PEEK)
                    connection.settimeout(SECONDS)
                    connection.shutdown(socket.SHUT_WR)
            with contextlib.closing(http.client.HTTPResponse(connection, method=verb)) as response:
                try:
                    response.begin()
                    body = b"" if is_endless and response.status == 200 else response.read()
                except (ConnectionResetError, http.client.RemoteDisconnected, http.client.IncompleteRead):
                    return Answer()
                assert time.monotonic() - begin < SECONDS, "it took too long"
                return Answer(response.status, response.headers.get("content-type", ""), body)

    def check(self, request: Request) -> Answer:
        """Sends a request that is HTTP; fails unless its answer is one that the contract knows."""
        answer = self.send(request.raw(), request.verb, is_endless=request.is_endless)
        assert answer.kind == "application/json", answer
        if answer.status == 200:
            for line in answer.body.splitlines():
                json.loads(line)
        elif request.verb == "HEAD":
            assert 400 <= answer.status < 500, answer
        else:
            has_deadline = b"timeout" in unquote_to_bytes(request.target) or any(
                name.lower() == b"grpc-timeout" for name, _ in request.headers
            )
            check_failure(answer, {"DEADLINE_EXCEEDED"} if has_deadline else set())
        return answer

    def check_hardly_http(self, data: bytes, request: Request) -> None:
        """Sends bytes that were a request; fails unless they are refused, in whatever form, or answered."""
        answer = self.send(data, request.verb, is_whole=False, is_endless=request.is_endless)
        if answer.status >= 400 and request.verb != "HEAD":
            check_failure(answer, {"DEADLINE_EXCEEDED"})

    def check_serving(self) -> None:
        """Fails unless all parts answer as they should."""
        assert self.system.call("math", "sqrt", 9) == 3.0
        assert self.system.call("orc_guest_values", "seen", [1]) == "[1]"
        assert self.system.module("orc_guest_objects")["status"]["ready_replicas"] == 1

    def _deployed(self) -> set[str]:
        return {module["spec"]["module_name"] for module in self.system.http.get("/v1/modules").json()["modules"]}

    def check_unharmed(self) -> None:
        """Fails unless modules and processes are the same, with hardly more threads and files than before."""
        self.check_serving()
        assert self._deployed() == self._modules
        wait_until(lambda: self.system.parts() == set(self._before))

        def excess() -> list[tuple[Footprint, Footprint]]:
            pairs = [(before, footprint(pid)) for pid, before in self._before.items()]
            return [(old, new) for old, new in pairs if new.files > old.files + 6 or new.threads > old.threads + 4]

        wait_until(lambda: not excess(), SECONDS)


def check_failure(answer: Answer, late: set[str]) -> None:
    """Fails unless this is an error of the contract's form, with a status that it documents; 504 may have `late`."""
    told = json.loads(answer.body)
    assert set(told) == {"code", "message", "details"}, told
    if late and answer.status == 504 and not told["details"]:
        # Where Envoy is late, or less than 20 ms were left, the module server's gRPC library tells, without a reason.
        assert told["code"] == REASONS["DEADLINE_EXCEEDED"].code, told
        return
    info = told["details"][0] if told["details"] else {}
    assert info.get("@type") == "type.googleapis.com/google.rpc.ErrorInfo", told
    assert info["domain"] == "jac_orc", told
    assert told["message"], told
    reason = info["reason"]
    assert reason in REASONS, told
    if reason == "EXCEPTION_RAISED":
        assert told["details"][1]["type"], told
    else:
        assert told["code"] == REASONS[reason].code, told
    assert answer.status in {HTTP_STATUS.get(told["code"]), *OWN_STATUS.get(reason, ())}, (answer.status, told)
    if answer.status >= 500:
        assert reason in FAILURES.get(answer.status, set()) | late, (answer.status, told)


def faults(system: System) -> list[str]:
    """Return the errors in the logs, except those of the gRPC library and the tracebacks of modules' exceptions.

    The library logs each header that is not UTF-8, and each caller that goes away just when the answer is sent. Faults
    of our own begin with "internal error".
    """
    expected = ("Invalid encoding on", "ExecuteBatchError raised in core", "Traceback (most recent call last)")
    return [text for text in system.logged_errors() if not text.startswith(expected)]


# --- requests ---

# No others may be legal names, without their blanks either.
MODULES = st.one_of(
    st.sampled_from(DEPLOYED),
    st.sampled_from(DEPLOYABLE),
    st.sampled_from("|.|..|math.|.math|1 b|ma/th|math\0|café|-|math:call|math:scale".split("|")),
    st.sampled_from(["../math", "math/../os", "\u202emath", "ｍath", "class", "x" * 300, "1", "%6dath"]),
    st.text(max_size=8).map("-".__add__),
)
METHODS = st.one_of(
    st.sampled_from("sqrt hypot gcd pi seen value raising record Box use exists process".split()),
    st.sampled_from(["", ".", "..", "a..b", "_private", "sqrt.__class__", "__import__", "x" * 3000, "sqrt/", "sqr"]),
    st.text(max_size=8),
)
OBJECTS = st.one_of(
    st.sampled_from(["x", "", "-", "math-127.0.0.1-1-1-0", "orc_guest_objects-127.0.0.1-1-1-" + "0" * 32, "-" * 400]),
    st.sampled_from(["os-127.0.0.1-1-1-0", "math-999.999.999.999-99999999-1-0", "math-..-1-1-0", "a" * 3000]),
    st.builds("math-{}-{}-1-0".format, st.sampled_from(["127.0.0.1", "0.0.0.0", "_1"]), st.integers(-1, 2**17)),
    st.text(max_size=12),
)
ROUTES = [
    *["POST /run_module?module_name={m}&method_name={f}", "POST /modules/{m}/{f}", "POST /v1/modules/{m}:call"] * 2,
    "POST /run_module?module_name={m}&method_name={f}&obj_id={o}", "POST /v1/modules/{m}:stream",
    "GET /v1/modules/{m}:describe", "GET /v1/modules/{m}/openapi.json", "GET /v1/modules/{m}/proto",
    "GET /v1/modules", "POST /v1/modules", "GET /v1/modules/{m}", "PATCH /v1/modules/{m}", "DELETE /v1/modules/{m}",
    "POST /v1/modules/{m}:scale", "GET /v1/modules:watch", "GET /v1/modules/{m}:logs", "POST /v1/modules:plan",
    "POST /create_pod/{m}", "DELETE /delete_pod/{m}", "DELETE /v1/objects/{o}", "POST /v1/objects/{o}:renew",
]  # fmt: skip
ENCODINGS: list[Callable[[bytes], bytes]] = [
    lambda text: quote(text).encode(),
    lambda text: quote(text).encode(),
    lambda text: quote(text, safe=":@!$&'()*+,;=").encode(),
    lambda text: quote(quote(text, safe=""), safe="").encode(),
    lambda text: b"".join(b"%%%02x" % byte for byte in text),
    lambda text: bytes(byte for byte in text if byte > 32 and byte not in b"?#\x7f"),  # as it is
]


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """A request for a route, with names of all kinds, and a body where the route takes one."""
    verb, _, template = draw(st.sampled_from(ROUTES)).partition(" ")
    target = template.encode()
    for place, names in ((b"{m}", MODULES), (b"{f}", METHODS), (b"{o}", OBJECTS)):
        if place in target:
            text = draw(names).encode("utf-8", "surrogatepass")
            target = target.replace(place, draw(st.sampled_from(ENCODINGS))(text))
    request = Request(verb, target)
    if verb in ("POST", "PATCH"):
        request.headers.append(JSON_TYPE)
        if template.endswith((":call", ":stream")):
            request.body = json.dumps({"method": draw(METHODS), "args": [9]}).encode()
        elif template.startswith("/run_module"):
            request.body = b'{"args":[9]}'
        else:
            request.body = b'{"x":9}' if template.startswith("/modules") else b"{}"
    return request
