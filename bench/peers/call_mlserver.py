"""An array there and back through MLServer, raw over gRPC: `python -m bench.peers.call_mlserver PORT MEGABYTES`."""

from __future__ import annotations

import sys

import grpc
import numpy as np  # type: ignore[import-not-found]
from mlserver.grpc import dataplane_pb2, dataplane_pb2_grpc  # type: ignore[import-not-found]

from bench.peers.timing import array_of, is_same, printed, times


def main() -> None:
    """Do it for a while."""
    array = array_of(int(sys.argv[2]))
    limits = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    stub = dataplane_pb2_grpc.GRPCInferenceServiceStub(grpc.insecure_channel(f"127.0.0.1:{sys.argv[1]}", limits))
    tensor = dataplane_pb2.ModelInferRequest.InferInputTensor

    def identity() -> bool:
        request = dataplane_pb2.ModelInferRequest(
            model_name="identity",
            inputs=[tensor(name="x", datatype="FP64", shape=[array.size])],
            raw_input_contents=[array.tobytes()],
        )
        return is_same(np.frombuffer(stub.ModelInfer(request).raw_output_contents[0], array.dtype), array)

    printed(times(identity, True, 1.0))


if __name__ == "__main__":
    main()
