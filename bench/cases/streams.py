"""Items of a generator, against messages made in a hand-written server's own loop."""

from __future__ import annotations

from google.protobuf.wrappers_pb2 import DoubleValue

from bench.cases import python_client
from bench.comparison import Comparison
from bench.load import Target
from bench.peer_servers import framed, hand_written
from bench.results import Run
from jac_orc.v1 import module_pb2

ITEMS = python_client.ITEMS


def run(run: Run) -> None:
    """Measure one stream at a time, by the load generator and by Python clients."""
    case, peer = f"{ITEMS:,} items of a generator, gRPC", "grpc.aio, hand-written stream"
    request = module_pb2.StreamRequest(method="numbers", args=[{"number_value": ITEMS}])
    items = [module_pb2.StreamResponse(result={"number_value": number}) for number in range(ITEMS)]
    numbers = [DoubleValue(value=number) for number in range(ITEMS)]
    with Comparison(run, case) as comparison:
        for name, server, path, message, answers in (
            ("ours", python_client.own_server(), "/jac_orc.v1.ModuleService/Stream", request, items),
            (peer, hand_written("numbers"), "/bench.Math/Numbers", DoubleValue(value=ITEMS), numbers),
        ):
            expected = framed(*(answer.SerializeToString() for answer in answers))
            port = comparison.enter_context(server).port
            target = Target("grpc", port, path, message.SerializeToString(), expected)
            comparison.ways[name] = comparison.loading(target, in_flight=1)
        comparison.compare()
        comparison.ratio(case, peer, "items/s", convert=lambda rate: rate * ITEMS, least=1.0, headline=True)
    python_client.items(run, f"{ITEMS:,} items of a generator, Python client")
