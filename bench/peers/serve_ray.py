"""Ray Serve, HTTP and gRPC: `python -m bench.peers.serve_ray HTTP_PORT GRPC_PORT`, tuned by its environment."""

from __future__ import annotations

import math
import signal
import sys
from typing import Any

import grpc
import ray  # type: ignore[import-not-found]
from google.protobuf.struct_pb2 import Value
from ray import serve
from ray.serve.config import HTTPOptions, gRPCOptions  # type: ignore[import-not-found]
from starlette.requests import Request  # type: ignore[import-not-found]


class Sqrt:
    """The trivial call."""

    async def __call__(self, request: Request) -> float:
        return math.sqrt((await request.json())["x"])

    async def sqrt(self, number: Value) -> Value:
        return Value(number_value=math.sqrt(number.number_value))


def add_to_server(servicer: Any, server: Any) -> None:
    """Add a service of one method, as a generated module does."""
    sqrt = grpc.unary_unary_rpc_method_handler(servicer.sqrt, Value.FromString, Value.SerializeToString)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Sqrt", {"sqrt": sqrt}),))


def main() -> None:
    """Serve until killed."""
    http_port, grpc_port = map(int, sys.argv[1:])
    ray.init(include_dashboard=False, num_cpus=4, log_to_driver=False)
    serve.start(
        http_options=HTTPOptions(host="127.0.0.1", port=http_port),
        grpc_options=gRPCOptions(port=grpc_port, grpc_servicer_functions=["bench.peers.serve_ray.add_to_server"]),
    )
    serve.run(
        serve.deployment(Sqrt, max_ongoing_requests=100).bind(),
        name="sqrt",
        route_prefix="/sqrt",
        logging_config={"enable_access_log": False, "log_level": "ERROR"},
    )
    signal.pause()


if __name__ == "__main__":
    main()
