"""What calls look like on each of the wires; the kernel that all of them end in is JSON in the guest."""
