"""What Envoy is told: resources (pure), a snapshot of them, and the Delta ADS server that sends it."""
