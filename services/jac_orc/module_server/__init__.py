"""The server of one module: a gRPC front that never imports the module, and guests that do."""
