# SPDX-License-Identifier: Apache-2.0
"""python3 -m pynq_driver --bind ADDRESS: the server, until it is interrupted."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from . import wire
from .device import Device
from .errors import DeviceError
from .server import Server


def main(arguments: list[str] | None = None, pynq=None) -> int:
    parser = argparse.ArgumentParser(prog="pynq_driver", description="Serve an encoder's overlay to one host at a time.")
    parser.add_argument("--bind", required=True, metavar="ADDRESS", help="address of the interface to listen on, such as 192.168.2.99")
    parser.add_argument("--port", type=int, default=wire.PORT)
    parser.add_argument("--overlay", type=Path, default=Path(__file__).resolve().parents[1] / "overlay", help="folder with overlay.json")
    parser.add_argument("--token-file", type=Path, help=f"file with the token, readable for its owner alone; else the variable {wire.TOKEN_VARIABLE}")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        token = wire.load_token(given.token_file)
        device = Device(given.overlay, pynq)
        server = Server(device, token, (given.bind, given.port))
    except (ValueError, OSError, DeviceError, ImportError) as error:
        print(f"pynq_driver: {error}", file=sys.stderr)
        return 2
    logging.info("graph %s on %s:%d", device.identity, *server.address)
    try:
        server.serve()
    except KeyboardInterrupt:
        server.stop()
    finally:
        device.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
