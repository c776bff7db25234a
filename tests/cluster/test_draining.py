"""Pods that end while calls run: these end within the module's own timeout, and the pods with them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.cluster.installation import NAMESPACE, Installation, wait_until
from tests.cluster.kubectl import kubectl, kubectl_json
from tests.cluster.test_faults import reason
from tests.cluster.test_module_pods import pods, zipped

Deploy = Callable[..., Any]

MODULE = "orc_slow"
CODE = """
import time

def nap(seconds):
    time.sleep(seconds)
    return seconds

def steps(count):
    for number in range(count):
        time.sleep(1)
        yield number
"""


def steps(installation: Installation, count: int) -> list[Any]:
    """The lines of a REST stream, which must be complete."""
    body = {"method": "steps", "args": [count]}
    with installation.http.stream("POST", f"/v1/modules/{MODULE}:stream", json=body, timeout=60) as response:
        return [json.loads(line) for line in response.iter_lines()]


def test_calls_and_streams_outlive_their_pod(installation: Installation, deployed: Deploy) -> None:
    """Over an update, which doesn't wait for them; an eviction by hand; and a deletion, which waits."""
    deployed(MODULE, source=zipped(orc_slow=CODE))
    (pod,) = pods(MODULE)
    assert pod["spec"]["terminationGracePeriodSeconds"] == 3 + 300 + 3 + 5
    lines = [{"result": number} for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        call, stream = pool.submit(installation.call, MODULE, "nap", 20), pool.submit(steps, installation, 20)
        time.sleep(1)
        assert installation.http.patch(f"/v1/modules/{MODULE}", json={"env": {"A": "1"}}).status_code == 200
        assert not call.done()
        assert (call.result().json(), stream.result()) == ({"result": 20}, lines)

        call = pool.submit(installation.call, MODULE, "nap", 15)
        time.sleep(1)
        (pod,) = pods(MODULE)
        kubectl("-n", NAMESPACE, "delete", "pod", pod["metadata"]["name"], "--wait=false")
        wait_until(lambda: installation.call(MODULE, "nap", 0).status_code == 200)
        assert not call.done()
        assert call.result().json() == {"result": 15}

        wait_until(lambda: len(pods(MODULE)) == 1 and installation.module(MODULE)["status"].get("ready_replicas") == 1)
        call = pool.submit(installation.call, MODULE, "nap", 10)
        time.sleep(1)
        begin = time.monotonic()
        assert installation.http.delete(f"/v1/modules/{MODULE}").status_code == 200
        assert call.result().json() == {"result": 10}
        assert 7 < time.monotonic() - begin < 40
        assert installation.objects(MODULE) == []


def test_what_outlasts_the_modules_timeout_says_so(installation: Installation, deployed: Deploy) -> None:
    deployed(MODULE, source=zipped(orc_slow=CODE), timeout="2s")
    (pod,) = pods(MODULE)
    assert pod["spec"]["terminationGracePeriodSeconds"] == 3 + 2 + 3 + 5
    with ThreadPoolExecutor(2) as pool:
        path = f"/v1/modules/{MODULE}:call?timeout=60S"
        call = pool.submit(installation.http.post, path, json={"method": "nap", "args": [50]})
        stream = pool.submit(steps, installation, 50)
        time.sleep(1)
        kubectl("-n", NAMESPACE, "delete", "pod", pod["metadata"]["name"], "--wait=false")
        assert reason(call.result()) == "POD_STOPPING"
        assert stream.result()[-1]["error"]["details"][0]["reason"] == "POD_STOPPING"
    gone = pod["metadata"]["name"]
    found = kubectl_json("-n", NAMESPACE, "get", "pods", "-l", f"jac-orc.dev/module={MODULE}")["items"]
    assert all(each["metadata"]["name"] != gone or "deletionTimestamp" in each["metadata"] for each in found)
