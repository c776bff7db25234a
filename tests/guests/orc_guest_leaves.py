"""A module that can't be imported: it ends the process."""

import os

os._exit(7)
