"""The pod manager: creates, scales and deletes modules, and tells Envoy where they are."""

from jac_orc.core.config import without_fork_handlers

without_fork_handlers()
