"""The stand-in as a program: runs until it is killed; prints its address when it is ready."""

from __future__ import annotations

import argparse
import threading

from tests.records.aerospike.standin import Standin


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.records.aerospike.standin", description=__doc__)
    parser.add_argument("--port", type=int, default=3000, help="0: any that is free")
    parser.add_argument("--namespace", default="test")
    parser.add_argument("--nsup-period", type=int, default=120, help="0: the server refuses times to live")
    arguments = parser.parse_args()
    standin = Standin(arguments.namespace, port=arguments.port, nsup_period=arguments.nsup_period)
    print(f"{standin.host}:{standin.port}/{arguments.namespace}", flush=True)
    threading.Event().wait()


main()
