import multiprocessing
import os
import signal

import torch
from hypothesis import HealthCheck, settings

# The same examples on every machine: a red build is a change in the code, not in the dice.
settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

torch.manual_seed(0)
if "PYTEST_XDIST_WORKER" in os.environ:  # the cores are shared out already
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a shell, Ctrl-C would be nothing
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What the tests of several processes fork theirs from: these take 7 seconds to import, once and not in each process.
multiprocessing.set_forkserver_preload(
    ["lightning.pytorch", "torchmetrics.classification", "safetensors.torch", "pytest", "onsphere.train"]
)
