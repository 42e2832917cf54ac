"""CLIP's loss as others have it, over embeddings a and k [n, d] of unit norm and a logit scale: what we compare with.

    open_clip ClipLoss  the N x N matrix, stored
    memeff              b0nce/MemoryEfficientCLIP, Triton, CUDA only: its temperature is a constant, not learned
    inf-cl              DAMO-NLP-SG/Inf-CLIP, Triton, CUDA only: products in fp32, both directions one after the other

A package that is not installed is no peer. And CWCL with its matrices stored (`dense CWCL`).
"""

import importlib.util
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
MODULES = {"open_clip ClipLoss": "open_clip", "memeff": "memeff", "inf-cl": "inf_cl"}
DENSE = ("open_clip ClipLoss", "dense CWCL")  # store N x N numbers: no peers where these do not fit


def peers(device: str) -> list[str]:
    """Names of the losses that are installed and run on `device`."""
    found = [name for name, module in MODULES.items() if importlib.util.find_spec(module) is not None]
    return [name for name in found if device == "cuda" or name in DENSE]


def dense_cwcl(a: torch.Tensor, k: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """CWCL as written in its paper: N x N logits, N x N weights."""
    logits = scale * a @ k.T
    with torch.no_grad():
        weights = (1 + k @ k.T) / 2
        weights /= weights.sum(1, keepdim=True)
    forward = -(weights * logits.log_softmax(1)).sum(1).mean()
    backward = F.cross_entropy(logits.T, torch.arange(len(a), device=a.device))
    return (forward + backward) / 2


def peer_loss(name: str) -> Loss:
    """The loss of a peer, or `dense CWCL`; imported here, so that no process waits for the others' imports."""
    if name == "dense CWCL":
        return dense_cwcl
    if name == "open_clip ClipLoss":
        from open_clip.loss import ClipLoss

        clip = ClipLoss()
        return lambda a, k, scale: clip(a, k, scale.to(a.dtype))
    if name == "inf-cl":
        from inf_cl import cal_flash_loss

        def both_ways(a: Tensor, k: Tensor, scale: Tensor) -> Tensor:
            there, back = (cal_flash_loss(x, y, scale=scale, head_dim=128).mean() for x, y in ((a, k), (k, a)))
            return (there + back) / 2

        return both_ways
    from memeff import MemoryEfficientCLIPLoss

    return lambda a, k, scale: MemoryEfficientCLIPLoss(1 / float(scale), normalized_inputs=True, stable=False)(a, k)
