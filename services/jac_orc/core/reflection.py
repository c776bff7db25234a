"""gRPC server reflection in both its versions, which differ in nothing but the package's name."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from grpc_reflection.v1alpha import reflection, reflection_pb2

Request = reflection_pb2.ServerReflectionRequest
"""Its message, in both versions."""


def servicer(names: Sequence[str]) -> reflection.aio.ReflectionServicer:
    """Return what answers for both versions: that these services exist, and what they are.

    The v1 descriptor is made from v1alpha's. The messages keep their names, so that one servicer fits both.
    """
    pool = descriptor_pool.Default()
    alpha = descriptor_pb2.FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
    text = text_format.MessageToString(alpha).replace("v1alpha", "v1")
    file = text_format.Parse(text, descriptor_pb2.FileDescriptorProto())
    file.name = "grpc/reflection/v1/reflection.proto"
    pool.AddSerializedFile(file.SerializeToString())
    return reflection.aio.ReflectionServicer(names, pool)
