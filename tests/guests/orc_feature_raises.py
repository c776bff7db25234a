"""Its import raises."""

raise LookupError("the price list is missing")
