"""Prints, starts a thread that never ends, and changes what it can while it is imported."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

print("imported")
sys.stdout.write("no line end")
threading.Thread(target=lambda: time.sleep(1000)).start()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.chdir("/")
sys.argv[:] = ["something"]


def fine() -> int:
    return 1
