"""A server with two workers in the middle of requests, for a test that kills it: prints every pid, then works on.

Run as `python -m tests.worker.server zygote|plain`.
"""

import sys
import threading

import numpy as np
import psutil

from editx.audio.clip import Clip
from editx.engines.base import Context
from editx.engines.catalog import VariantSpec
from editx.processes.launcher import Launcher
from editx.recipe import Clone
from editx.worker.client import HOST_MODULE, WorkerFactory


def main(mode):
    launcher = Launcher(zygote=mode == "zygote", preload=[HOST_MODULE])
    spec = VariantSpec("faulty", "", "tests.worker.engines:open_faulty")
    models = [WorkerFactory(spec, launcher, stall_timeout=60)() for _ in range(3)]
    clip = Clip(np.zeros(10, np.float32), 24_000)
    streams = [models[0].run(Clone("endless"), clip, Context()), models[1].run(Clone("hang"), clip, Context())]
    for stream in streams:
        next(stream)
    stopped = models[2].run(Clone("stop"), clip, Context())
    next(stopped)
    pids = [child.pid for child in psutil.Process().children(recursive=True)]
    print(*pids, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1])
