"""A module that can't be imported: it asks for the end."""

import sys

sys.exit(3)
