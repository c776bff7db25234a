"""What the system costs, measured on real processes; `python -m bench` prints it."""
