"""Objects of a module with two replicas: over every face their calls find the one pod that has them, or none.

By `x-pod` a test says to which pod a call goes first. Whatever it says, the call ends in the pod that has the object.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf import json_format

from jac_orc.client.connection import Connection
from jac_orc.client.messages import Remote
from jac_orc.errors import OrcError, error
from jac_orc.v1 import module_pb2, module_pb2_grpc
from tests.e2e.system import System, reason, wait_until
from tests.feature.module_servers import failure_of, value
from tests.support import children, running

BOXES = "orc_guest_objects"
FACES = ["call", "run_module", "grpc", "python", "batch"]
LOST = (404, "OBJECT_LOST")
NO_POD = "127.0.0.1:1"
numbers = itertools.count(1000)


def place(obj_id: str) -> str:
    """The address of the pod, which an id shows."""
    found = re.fullmatch(r"[\w.]+-(\d+\.\d+\.\d+\.\d+)-(\d+)-\d+-[0-9a-f]{32}", obj_id)
    assert found, obj_id
    return f"{found[1]}:{found[2]}"


def ref(obj_id: str) -> dict[str, str]:
    """How an object is named as an argument, and told as a result."""
    return {"obj_id": obj_id}


def answer(response: httpx.Response) -> Any:
    """The answer's body; raises OrcError for a failure, whose code must be that of its reason."""
    if response.status_code == 200:
        return response.json()
    failure = error(reason(response), response.json()["message"])
    assert failure.code == response.json()["code"], response.text
    raise failure


class Pods:
    """A module with several pods on a system, and calls of it over each face of the front port."""

    def __init__(self, system: System, module: str) -> None:
        self.system = system
        self.module = module
        self._channel = grpc.insecure_channel(f"127.0.0.1:{system.port}")
        self.stub = module_pb2_grpc.ModuleServiceStub(self._channel)
        self._connections: dict[str, Connection] = {}
        self._results: list[Any] = []  # a Remote that is forgotten here is released
        self._lock = threading.Lock()

    def close(self) -> None:
        """Ends the connections."""
        for connection in self._connections.values():
            connection.close()
        self._channel.close()

    # --- pods ---

    def addresses(self) -> list[str]:
        """Where the pods are that are ready."""
        pods = self.system.module(self.module)["status"]["pods"]
        return [pod["address"] for pod in pods if pod["phase"] == "POD_PHASE_READY"]

    def when_ready(self, count: int = 2) -> Pods:
        """Waits until so many pods are ready, and Envoy sends calls to each of them."""
        wait_until(lambda: len(self.addresses()) == count, 60)
        for address in self.addresses():
            self.when_reached(address)
        return self

    def when_reached(self, address: str) -> None:
        """Waits until Envoy sends calls to that pod, and it answers them."""

        def is_reached() -> bool:
            with suppress(OrcError):
                return place(self.make(next(numbers), address)) == address
            return False

        wait_until(is_reached)

    def server_at(self, address: str) -> int:
        """The process that listens there."""
        return self.system.server_at(self.module, address)

    def guest_at(self, address: str) -> int:
        """The process of the module's own code there."""
        (guest,) = children(self.server_at(address)) & set(self.system.pids("guest", self.module))
        return guest

    # --- calls ---

    def make(self, number: int, pod: str = "") -> str:
        """The id of a new object, in the pod if one is named."""
        method, args = ("DataFrame", [{"a": [number, number + 1]}]) if self.module == "pandas" else ("Box", [number])
        return str(self.call("call", method, *args, pod=pod)["obj_id"])

    def make_in_each(self) -> dict[str, tuple[int, str]]:
        """A new object in each pod, its number and its id by the pod's address."""
        made = {}
        for address in self.addresses():
            number = next(numbers)
            made[address] = (number, self.make(number, address))
            assert place(made[address][1]) == address
        assert len(made) > 1
        return made

    def call(self, face: str, method: str, *args: Any, obj_id: str = "", pod: str = "") -> Any:
        """The result of a call over that face, which goes to that pod first; raises OrcError."""
        if face in ("python", "batch"):
            return self._call_in_python(method, args, obj_id, pod, batched=face == "batch")
        if face == "grpc":
            request = module_pb2.CallRequest(method=method, args=[value(arg) for arg in args], obj_id=obj_id)
            try:
                result = self.stub.Call(request, metadata=self.metadata(pod), timeout=30).result
            except grpc.RpcError as failure:
                raise failure_of(failure).error from failure
            return json_format.MessageToDict(result)
        body: dict[str, Any] = {"args": args}
        if face == "run_module":
            path = f"/run_module?module_name={self.module}&method_name={method}&obj_id={obj_id}"
        else:
            path = f"/v1/modules/{self.module}:call"
            body |= {"method": method} | (ref(obj_id) if obj_id else {})
        return answer(self.system.post(path, body, **({"x_pod": pod} if pod else {})))["result"]

    def _call_in_python(self, method: str, args: Sequence[Any], obj_id: str, pod: str, *, batched: bool) -> Any:
        with self._lock:
            if pod not in self._connections:
                self._connections[pod] = self.connection(pod)
        connection = self._connections[pod]
        target, values = (named(obj_id) if obj_id else None), [with_objects(arg) for arg in args]
        if batched:
            batch = connection.batch()
            batch.invoke(method, values, target=target)
            (result,) = batch.run()
            if isinstance(result, OrcError):
                raise result
        else:
            result = connection.invoke(method, values, target=target)
        self._results.append(result)
        return ref(result.obj_id) if isinstance(result, Remote) else result

    def connection(self, pod: str = "") -> Connection:
        """A new connection, whose calls go to that pod first."""
        return Connection(f"127.0.0.1:{self.system.port}", metadata=self.metadata(pod), timeout=30)

    def metadata(self, pod: str = "") -> tuple[tuple[str, str], ...]:
        """What a gRPC call is sent with."""
        return (("x-module", self.module), *([("x-pod", pod)] if pod else []))

    def fails(self, face: str, method: str, *args: Any, obj_id: str = "", pod: str = "") -> str:
        """The reason for which a call fails."""
        try:
            result = self.call(face, method, *args, obj_id=obj_id, pod=pod)
        except OrcError as failure:
            return failure.reason
        raise AssertionError(f"the call succeeded: {result}")

    def is_lost(self, obj_id: str) -> bool:
        """Whether a call says so."""
        try:
            self.call("call", "value", obj_id=obj_id)
        except OrcError as failure:
            return failure.reason == "OBJECT_LOST"
        return False

    def assert_lost(self, obj_id: str, sent: Sequence[str] = ("",)) -> None:
        """Fails unless the object is lost for every face, as target and as argument, wherever the call goes first."""
        method, function = ("a.tolist", "isna") if self.module == "pandas" else ("use", "use")
        for pod, face in itertools.product(sent, FACES):
            assert self.fails(face, method, obj_id=obj_id, pod=pod) == "OBJECT_LOST", (face, pod)
            assert self.fails(face, function, ref(obj_id), pod=pod) == "OBJECT_LOST", (face, pod)
        for response in (
            self.system.post(f"/run_module?module_name={self.module}&method_name={method}&obj_id={obj_id}", {}),
            self.system.post(f"/v1/modules/{self.module}:stream", {"method": method, "obj_id": obj_id}),
            self.system.post(f"/v1/objects/{obj_id}:renew", {}),
            self.system.http.delete(f"/v1/objects/{obj_id}"),
        ):
            assert (response.status_code, reason(response)) == LOST, response.text
            assert response.json()["details"][0]["metadata"]["obj_id"] == obj_id


def named(obj_id: str) -> Remote:
    """The object for a `Connection`; it is not released when this is forgotten."""
    return Remote(obj_id, "", "", lambda obj_id: None, is_callable=False)


def with_objects(arg: Any) -> Any:
    """The argument as a `Connection` takes it."""
    if isinstance(arg, list):
        return [with_objects(item) for item in arg]
    return named(arg["obj_id"]) if isinstance(arg, dict) and "obj_id" in arg else arg


def kill(pid: int) -> None:
    """Kills the process and waits for the end of its last thread, since until then its sockets are open."""
    os.kill(pid, signal.SIGKILL)

    def has_ended() -> bool:
        try:
            return not running(pid) and len(os.listdir(f"/proc/{pid}/task")) < 2
        except OSError:
            return True

    wait_until(has_ended)


@pytest.fixture(scope="module")
def deployed(system: System) -> Iterator[Callable[[str], Pods]]:
    """Modules with two replicas that tests share, deployed when asked for; whoever asks waits until both are ready."""
    made: dict[str, Pods] = {}

    def pods(module: str) -> Pods:
        answer(system.post("/v1/modules", {"module_name": module, "replicas": 2}))
        if module not in made:
            made[module] = Pods(system, module)
        return made[module].when_ready()

    yield pods
    for module, one in made.items():
        one.close()
        system.remove(module)


@pytest.fixture
def frames(deployed: Callable[[str], Pods]) -> Pods:
    """Real pandas, as the system installs it."""
    return deployed("pandas")


@pytest.fixture
def boxes(deployed: Callable[[str], Pods]) -> Pods:
    """Objects that tell their process and how often they have been used."""
    return deployed(BOXES)


@pytest.fixture
def own_boxes(deploy: Callable[..., Any], system: System) -> Iterator[Callable[..., Pods]]:
    """Deploys the boxes anew, with another spec or for a test that must begin with new pods."""
    with closing(Pods(system, BOXES)) as pods:

        def make(**spec: Any) -> Pods:
            deploy(BOXES, **spec)
            return pods

        yield make


# --- the right pod ---


@pytest.mark.parametrize("face", FACES)
def test_100_calls_of_frames_run_where_the_frames_are(frames: Pods, face: str) -> None:
    made: list[tuple[int, str]] = []

    def on_both() -> bool:
        number = next(numbers)
        made.append((number, frames.make(number)))
        return len({place(obj_id) for _, obj_id in made}) == 2

    wait_until(on_both)
    for count, (number, obj_id) in zip(range(100), itertools.cycle(made), strict=False):
        method, args, expected = [
            ("a.tolist", [], [number, number + 1]),  # a method of an attribute
            ("shape", [], [2, 1]),  # an attribute
            ("__len__", [], 2),
            ("__getitem__", ["a"], None),  # an item: a Series
            ("to_dict", ["list"], {"a": [number, number + 1]}),
            ("add", [number], None),  # another frame
        ][count % 6]
        result = frames.call(face, method, *args, obj_id=obj_id)  # type: ignore[misc]
        if expected is None:
            assert place(result["obj_id"]) == place(obj_id)
        else:
            assert (list(result) if isinstance(result, tuple) else result) == expected


@pytest.mark.parametrize("face", FACES)
def test_frames_as_arguments(frames: Pods, face: str) -> None:
    for address, (number, obj_id) in frames.make_in_each().items():
        for pod in ("", *frames.addresses()):
            both = frames.call(face, "concat", [ref(obj_id), ref(obj_id)], pod=pod)["obj_id"]
            assert place(both) == address
            assert frames.call(face, "a.tolist", obj_id=both, pod=pod) == [number, number + 1] * 2


def test_a_frame_as_a_named_argument_pasted_as_it_was_told(frames: Pods) -> None:
    for address in frames.addresses():
        frame = frames.call("call", "DataFrame", {"a": [1, None]})
        assert frame["type"].endswith("DataFrame")
        result = answer(frames.system.post("/modules/pandas/isna", {"obj": frame}, x_pod=address))["result"]
        assert place(result["obj_id"]) == place(frame["obj_id"])


@pytest.mark.parametrize("sent", ["anywhere", "to the other pod", "to no pod"])
@pytest.mark.parametrize("face", FACES)
def test_100_calls_run_once_each_in_the_process_that_made_the_object(boxes: Pods, face: str, sent: str) -> None:
    made = boxes.make_in_each()
    processes = {address: boxes.call("call", "process", pod=address) for address in made}
    first, second = made
    assert processes[first] != processes[second]
    aside = {
        "anywhere": {},
        "to the other pod": {first: second, second: first},
        "to no pod": dict.fromkeys(made, NO_POD),
    }
    for count, (address, (number, obj_id)) in zip(range(100), itertools.cycle(made.items()), strict=False):
        pod = aside[sent].get(address, "")
        of_object: dict[str, str] = {} if count // 2 % 2 else ref(obj_id)
        result = boxes.call(face, "use", *([] if of_object else [ref(obj_id)]), **of_object, pod=pod)
        assert result == [number, count // 2 + 1, processes[address]]


def test_many_calls_at_a_time(boxes: Pods) -> None:
    made = list(boxes.make_in_each().values())
    with ThreadPoolExecutor(16) as pool:
        use = [(FACES[count % 5], made[count // 5 % 2][1]) for count in range(200)]
        results = list(pool.map(lambda call: boxes.call(call[0], "use", obj_id=call[1]), use))
    for number, _ in made:
        uses = [result for result in results if result[0] == number]
        assert sorted(used for _, used, _ in uses) == list(range(1, 101))
        assert len({process for _, _, process in uses}) == 1


def test_one_connection_with_objects_of_both_pods(boxes: Pods) -> None:
    made = list(boxes.make_in_each().values())
    with boxes.connection() as connection, ThreadPoolExecutor(16) as pool:
        calls = [(number, named(obj_id)) for _ in range(50) for number, obj_id in made]
        results = list(pool.map(lambda call: connection.invoke("use", target=call[1]), calls))
        assert [number for number, _, _ in results] == [number for number, _ in calls]
        assert sorted(used for _, used, _ in results) == sorted([*range(1, 51)] * 2)
        assert len({process for _, _, process in results}) == 2
        box = named(made[0][1])
        kept = connection.invoke("use_both", [box, box], kept=True)
        assert place(kept.obj_id) == place(made[0][1])


def test_an_object_that_a_connection_holds_is_there_for_every_face(boxes: Pods) -> None:
    for address in boxes.addresses():
        with boxes.connection(address) as connection:
            kept = connection.invoke("Box", [next(numbers)], kept=True)
            assert place(kept.obj_id) == address
            assert [boxes.call(face, "use", obj_id=kept.obj_id)[1] for face in FACES] == [1, 2, 3, 4, 5]


def test_streams_and_large_values_of_objects_in_any_pod(boxes: Pods) -> None:
    made = boxes.make_in_each()
    for (address, (number, obj_id)), pod in itertools.product(made.items(), ("", NO_POD, *made)):
        with boxes.connection(pod) as connection, boxes.connection(address) as holder:
            assert next(connection.stream("use", target=named(obj_id))) == number
            assert next(connection.stream("use", [named(obj_id)])) == number
            stored = holder.put(bytes(3_000_000) + b"end")
            assert place(stored.obj_id) == address
            assert connection.get(stored) == bytes(3_000_000) + b"end"


def test_a_batch_whose_later_calls_name_an_object_of_another_pod(boxes: Pods) -> None:
    """The first call decides where a batch runs."""
    (here, (number, mine)), (_, (_, other)) = boxes.make_in_each().items()
    with boxes.connection(here) as connection:
        batch = connection.batch(goes_on=True)
        for obj_id in (mine, other, mine):
            batch.invoke("use", target=named(obj_id))
        first, apart, last = batch.run()
        assert (first[:2], apart.reason, last[:2]) == ([number, 1], "OBJECTS_APART", [number, 2])


@pytest.mark.parametrize("named", ["metadata", "authority", "field", "object"])
def test_the_stub_reaches_objects_however_it_names_the_module(boxes: Pods, named: str) -> None:
    target = f"127.0.0.1:{boxes.system.port}"
    options = [("grpc.default_authority", f"{BOXES}.modules.local")] if named == "authority" else []
    metadata = boxes.metadata() if named == "metadata" else ()
    module = BOXES if named == "field" else ""
    made = boxes.make_in_each().values()
    with grpc.insecure_channel(target, options=options) as channel:
        stub = module_pb2_grpc.ModuleServiceStub(channel)
        for (number, obj_id), _ in itertools.product(made, range(4)):
            call = module_pb2.CallRequest(module_name=module, method="value", obj_id=obj_id)
            assert stub.Call(call, metadata=metadata).result.number_value == number
            stream = module_pb2.StreamRequest(module_name=module, method="use", obj_id=obj_id)
            assert next(iter(stub.Stream(stream, metadata=metadata))).result.number_value == number


# --- objects of two processes ---


@pytest.mark.parametrize("face", FACES)
def test_objects_of_two_pods_are_apart(frames: Pods, face: str) -> None:
    (_, first), (_, second) = frames.make_in_each().values()
    for pod, (one, other) in itertools.product(("", *frames.addresses()), ((first, second), (second, first))):
        assert frames.fails(face, "concat", [ref(one), ref(other)], pod=pod) == "OBJECTS_APART"
        assert frames.fails(face, "equals", ref(one), obj_id=other, pod=pod) == "OBJECTS_APART"
    response = frames.system.try_call("pandas", "concat", [ref(first), ref(second)])
    assert (response.status_code, reason(response)) == (400, "OBJECTS_APART")


@pytest.mark.parametrize("face", FACES)
def test_objects_of_two_workers_of_one_pod(own_boxes: Callable[..., Pods], face: str) -> None:
    pods = own_boxes(workers=2)
    made: dict[str, str] = {}

    def in_both() -> bool:
        with ThreadPoolExecutor(8) as pool:
            for obj_id in pool.map(lambda _: pods.make(next(numbers)), range(16)):
                made[pods.call("call", "use", obj_id=obj_id)[2]] = obj_id
        return len(made) == 2

    wait_until(in_both)
    for _, (process, obj_id) in itertools.product(range(5), made.items()):
        assert pods.call(face, "use", obj_id=obj_id)[2] == process
        assert pods.call(face, "use", ref(obj_id))[2] == process
    one, other = made.values()
    assert pods.fails(face, "use_both", ref(one), ref(other)) == "OBJECTS_APART"
    assert [used for _, used, _ in pods.call(face, "use_both", ref(other), ref(other))] == [12, 13]


# --- objects that are gone ---


def test_the_frames_of_a_killed_pod_are_lost_for_good(frames: Pods) -> None:
    gone, stays = frames.addresses()
    doomed = [frames.make(number, gone) for number in range(3)]
    others = [frames.make(number, stays) for number in range(3)]
    kill(frames.server_at(gone))
    for obj_id in doomed:
        frames.assert_lost(obj_id)
    assert frames.fails("call", "concat", [ref(others[0]), ref(doomed[0])]) in ("OBJECT_LOST", "OBJECTS_APART")
    assert [frames.call("call", "a.tolist", obj_id=obj_id) for obj_id in others] == [[0, 1], [1, 2], [2, 3]]
    frames.when_ready()
    for obj_id in doomed:
        frames.assert_lost(obj_id, sent=("", *frames.addresses()))
    for (number, obj_id), face, pod in itertools.product(enumerate(others), FACES, ("", *frames.addresses())):
        assert frames.call(face, "a.tolist", obj_id=obj_id, pod=pod) == [number, number + 1]


@pytest.mark.parametrize("when", ["at once", "later"])
@pytest.mark.parametrize("face", ["call", "python"])
def test_the_first_call_after_the_end_of_a_pod_that_was_known(
    own_boxes: Callable[..., Pods], face: str, when: str
) -> None:
    pods = own_boxes(replicas=2).when_ready()
    gone, stays = pods.addresses()
    number = next(numbers)
    doomed = pods.make(number, gone)
    assert pods.call("call", "value", obj_id=doomed, pod=stays) == number  # sent on, so from now on it is known
    kill(pods.server_at(gone))
    if when == "later":
        wait_until(lambda: gone not in pods.addresses())
        pods.when_ready()
    assert pods.fails(face, "value", obj_id=doomed, pod=stays) == "OBJECT_LOST"
    pods.assert_lost(doomed)


def test_the_objects_of_a_new_pod_are_found_whatever_was_asked_before(own_boxes: Callable[..., Pods]) -> None:
    pods = own_boxes()
    (old,) = pods.addresses()
    pods.system.post(f"/v1/modules/{BOXES}:scale?wait=false", {"replicas": 2})
    nobodys = f"{BOXES}-127.0.0.1-1-1-{'0' * 32}"

    def both() -> bool:
        assert pods.fails("call", "use", obj_id=nobodys, pod=old) == "OBJECT_LOST"
        return len(pods.addresses()) == 2

    wait_until(both)
    (new,) = {*pods.addresses()} - {old}
    pods.when_reached(new)
    number = next(numbers)
    assert pods.call("call", "value", obj_id=pods.make(number, new), pod=old) == number


def test_the_objects_of_a_killed_guest_are_lost_though_its_pod_lives(boxes: Pods) -> None:
    (gone, (_, doomed)), (_, (number, other)) = boxes.make_in_each().items()
    server = boxes.server_at(gone)
    kill(boxes.guest_at(gone))
    boxes.when_reached(gone)
    boxes.assert_lost(doomed, sent=("", *boxes.addresses()))
    assert boxes.server_at(gone) == server
    assert boxes.call("call", "value", obj_id=other) == number


# --- ids that nobody was given ---


def test_forged_ids_name_nothing(boxes: Pods) -> None:
    system = boxes.system
    (here, (number, mine)), (there, _) = boxes.make_in_each().items()
    chain = system.call("collections", "ChainMap", {"a": 1})["obj_id"]
    module, host, port, guest, secret = mine.split("-")
    _, foreign_host, foreign_port, _, foreign_secret = chain.split("-")
    places = system.places()  # of all our servers
    assert {(host, port), (foreign_host, foreign_port), tuple(there.split(":"))} <= places
    assert ("127.0.0.1", str(system.port)) in places
    changed = secret[:-1] + ("1" if secret[-1] == "0" else "0")
    for forged in (
        *((module, *other, guest, secret) for other in places - {(host, port)}),
        (module, foreign_host, foreign_port, "1", foreign_secret),
        *((module, "127.0.0.2", port, number, secret) for number in ("1", "2")),
        *((module, host, port, number, secret) for number in (f"{guest}1", f"0{guest}", "0", "", "-1")),
        *((module, host, port, guest, text) for text in (changed, secret[:-1], secret + "0", f"{secret} ", "", "*")),
        (module, "localhost", port, guest, secret),
        (module, host, f"{port} ", guest, secret),
        (module, secret),
    ):
        for pod, face in itertools.product((here, there), FACES):
            obj_id = "-".join(forged).replace(" ", "%20" if face == "run_module" else " ")
            assert boxes.fails(face, "use", obj_id=obj_id, pod=pod) == "OBJECT_LOST", obj_id
            assert boxes.fails(face, "use", ref("-".join(forged)), pod=pod) == "OBJECT_LOST", forged
    assert boxes.call("call", "use", obj_id=mine)[:2] == [number, 1]


def test_ids_of_other_modules_at_the_address_of_a_pod(boxes: Pods) -> None:
    for pod, (_, (_, mine)) in itertools.product(boxes.addresses(), boxes.make_in_each().items()):
        for other in ("collections", f"{BOXES}.x", "x"):
            forged = mine.replace(BOXES, other)
            for face in FACES:
                assert boxes.fails(face, "use", obj_id=forged, pod=pod) == "OBJECT_LOST"
        assert boxes.call("call", "use", obj_id=mine, pod=pod)


def test_another_modules_objects_are_out_of_reach(boxes: Pods) -> None:
    system = boxes.system
    foreign = system.call("collections", "ChainMap", {"a": 1})["obj_id"]
    for face, pod in itertools.product(FACES, boxes.addresses()):
        assert boxes.fails(face, "use", obj_id=foreign, pod=pod) == "OBJECT_LOST"
        assert boxes.fails(face, "use", ref(foreign), pod=pod) == "OBJECT_LOST"
    for verb, path in (("DELETE", f"/v1/objects/{foreign}"), ("POST", f"/v1/objects/{foreign}:renew")):
        response = system.http.request(verb, path, headers={"x-module": BOXES})
        assert (response.status_code, reason(response)) == LOST, response.text
    mine = boxes.make(next(numbers))
    response = system.try_call("collections", "ChainMap", ref(mine))
    assert (response.status_code, reason(response)) == LOST
    assert boxes.call("call", "use", obj_id=mine)[1] == 1
    assert answer(system.post("/v1/modules/collections:call", {"method": "__len__", "obj_id": foreign})) == {
        "result": 1
    }


# --- release and lease ---


@pytest.mark.parametrize("how", ["rest", "grpc", "another pod", "python"])
def test_a_released_object_is_gone_and_its_neighbour_is_not(boxes: Pods, how: str) -> None:
    system = boxes.system
    for address, (number, obj_id) in boxes.make_in_each().items():
        neighbours = next(numbers)
        neighbour = boxes.make(neighbours, address)
        (aside,) = {*boxes.addresses()} - {address}
        assert boxes.call("call", "exists", number, pod=address)
        if how == "rest":
            assert answer(system.http.delete(f"/v1/objects/{obj_id}")) == {}
        elif how == "python":
            with boxes.connection(aside) as connection:
                other = connection.invoke("", target=named(obj_id))  # another name of it
                assert connection.invoke("use", target=other)[1] == 1
                other.release()
                wait_until(lambda: boxes.is_lost(other.obj_id))  # noqa: B023
            assert boxes.call("call", "use", obj_id=obj_id)[1] == 2
            boxes.stub.ReleaseObject(module_pb2.ReleaseObjectRequest(obj_id=obj_id), metadata=boxes.metadata())
        else:
            metadata = boxes.metadata(aside if how == "another pod" else "")
            boxes.stub.ReleaseObject(module_pb2.ReleaseObjectRequest(obj_id=obj_id), metadata=metadata)
        assert not boxes.call("call", "exists", number, pod=address)
        boxes.assert_lost(obj_id, sent=("", *boxes.addresses()))
        assert boxes.call("call", "use", obj_id=neighbour)[:2] == [neighbours, 1]


def test_a_lease_ends_as_long_after_the_last_use_as_it_lasts(boxes: Pods) -> None:
    lease, neighbours = 1.0, next(numbers)
    (address, (_, one)), (_, (_, other)) = boxes.make_in_each().items()
    neighbour = boxes.make(neighbours, address)
    renewed = answer(boxes.system.post(f"/v1/objects/{one}:renew", {"lease": "1s"}))
    assert renewed == {"lease": "1s"}
    request = module_pb2.RenewObjectRequest(obj_id=other)
    request.lease.FromSeconds(1)
    assert boxes.stub.RenewObject(request, metadata=boxes.metadata(address)).lease.ToSeconds() == 1
    begin = last = time.monotonic()
    while last < begin + 1.5 * lease:  # each use prolongs them
        last = time.monotonic()
        for obj_id, face in itertools.product((one, other), FACES):
            boxes.call(face, "use", obj_id=obj_id)
    end = time.monotonic()
    wait_until(lambda: time.monotonic() > end + lease)
    for obj_id, face, pod in itertools.product((one, other), FACES, ("", *boxes.addresses())):
        assert boxes.fails(face, "use", obj_id=obj_id, pod=pod) == "OBJECT_LOST"
        assert boxes.fails(face, "use", ref(obj_id), pod=pod) == "OBJECT_LOST"
    for obj_id in (one, other):
        response = boxes.system.post(f"/v1/objects/{obj_id}:renew", {"lease": "60s"})
        assert (response.status_code, reason(response)) == LOST
    assert boxes.call("call", "exists", neighbours, pod=address)
    assert boxes.call("call", "use", obj_id=neighbour)[:2] == [neighbours, 1]


def test_an_object_whose_lease_has_ended_cannot_be_released(boxes: Pods) -> None:
    obj_id = boxes.make(next(numbers))
    answer(boxes.system.post(f"/v1/objects/{obj_id}:renew", {"lease": "0.1s"}))
    end = time.monotonic() + 0.1
    wait_until(lambda: time.monotonic() > end)
    response = boxes.system.http.delete(f"/v1/objects/{obj_id}")
    assert (response.status_code, reason(response)) == LOST


def test_a_result_that_this_client_has_no_type_for(frames: Pods) -> None:
    obj_id = frames.make(5)
    try:
        told = frames.call("python", "a.sum", obj_id=obj_id)
    except OrcError as failure:
        told = failure.reason
    assert told in (11, "VALUE_NOT_REPRESENTABLE")
    assert frames.call("python", "a.tolist", obj_id=obj_id) == [5, 6]
