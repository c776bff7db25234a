"""Where pods run: `base` is the interface, the other modules are its implementations."""
