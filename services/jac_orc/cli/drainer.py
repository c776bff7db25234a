"""`python -m jac_orc.cli.drainer SOCKET`: in the gateway's pod, has Envoy end its calls before it is stopped.

Envoy itself ends at once on SIGTERM and cuts off every call. So it is a sidecar of this process, which Kubernetes stops
first: it asks Envoy, over the admin socket, to send clients elsewhere, and ends when their calls have.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from pathlib import Path

from jac_orc.cli import envoy


async def run(socket: Path, at_least: float, at_most: float) -> None:
    """Waits for SIGTERM, then drains the Envoy of that admin socket."""
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    print("waiting for SIGTERM", flush=True)
    await told.wait()
    print("draining Envoy", flush=True)
    await asyncio.gather(envoy.drain(socket, at_most), asyncio.sleep(at_least))


def main() -> None:
    """Reads the command line and runs until told to stop."""
    parser = argparse.ArgumentParser(prog="jac_orc.cli.drainer", description="Drains Envoy on SIGTERM.")
    parser.add_argument("socket", type=Path, help="Envoy's admin socket")
    parser.add_argument("--at-least", type=float, default=5.0, help="seconds in which new clients may still come")
    parser.add_argument("--at-most", type=float, default=60.0, help="seconds that calls get to end")
    options = parser.parse_args()
    asyncio.run(run(options.socket, options.at_least, options.at_most))


if __name__ == "__main__":
    main()
