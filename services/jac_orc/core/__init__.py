"""What every process of the system shares."""
