"""The command line."""

from jac_orc.core.config import prepare_grpc

prepare_grpc()
