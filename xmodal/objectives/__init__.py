"""Objectives: embeddings in, loss out. Pure torch, usable as a plain library.

Example:
    embeddings = Embeddings.of(speech=z, text=k)                    # [N, D] each, unit norm
    CWCL(temperature=0.07)(embeddings, "speech", "text").value.backward()
"""

from xmodal.batch import Clock, Embeddings, Loss
from xmodal.objectives.engine.key_bank import KeyBank
from xmodal.objectives.objective import Need, Objective, ScaledObjective
from xmodal.objectives.online.moco import MoCo
from xmodal.objectives.probabilistic.siglip import SigLIP
from xmodal.objectives.softmax.cwcl import CWCL
from xmodal.objectives.softmax.infonce import InfoNCE
from xmodal.objectives.softmax.nt_xent import NTXent
from xmodal.objectives.softmax.supcon import SupCon

__all__ = [
    "CWCL",
    "Clock",
    "Embeddings",
    "InfoNCE",
    "KeyBank",
    "Loss",
    "MoCo",
    "NTXent",
    "Need",
    "Objective",
    "ScaledObjective",
    "SigLIP",
    "SupCon",
]
