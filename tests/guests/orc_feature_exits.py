"""Its import exits."""

import sys

sys.exit("enough")
