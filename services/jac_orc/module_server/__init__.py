"""The server of one module: a gRPC front that never imports the module, and guests that do."""

from jac_orc.core.config import prepare_grpc

prepare_grpc()
