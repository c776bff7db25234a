"""Imported only once the file GATE is there."""

import os
import time

while not os.path.exists(os.environ["GATE"]):
    time.sleep(0.01)


def opened() -> bool:
    return True
