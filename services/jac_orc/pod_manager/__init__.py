"""The pod manager: creates, scales and deletes modules, and tells Envoy where they are."""
