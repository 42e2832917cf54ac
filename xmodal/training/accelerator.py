"""The `Accelerator` of a run: which precision and device, and how long processes wait for each other."""

import os
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs

from xmodal.errors import UserError

PRECISION = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
PATIENCE = timedelta(hours=2)  # the others wait while the main process evaluates


def accelerator_for(precision: str) -> Accelerator:
    """The accelerator for a run of this precision (fp32, bf16, fp16). Raises `UserError` for fp16 without a GPU."""
    if precision == "fp16" and not torch.cuda.is_available():
        raise UserError("train.precision: fp16 needs a GPU; use fp32 or bf16 here")
    # torchrun on CPUs: unless told, Accelerate takes every process for the only one
    on_cpus = "LOCAL_RANK" in os.environ and not torch.cuda.is_available()
    handlers = [InitProcessGroupKwargs(timeout=PATIENCE)]
    return Accelerator(mixed_precision=PRECISION[precision], cpu=on_cpus, kwargs_handlers=handlers)
