"""A module that can't be imported: it raises."""

raise RuntimeError("this module never wanted to be imported")
