"""Objectives: embeddings in, loss out. Pure torch, usable as a plain library.

Example:
    embeddings = Embeddings.of(speech=z, text=k)                    # [N, D] each, unit norm
    CWCL(temperature=0.07)(embeddings, "speech", "text").value.backward()
"""

from xmodal.batch import Clock, Embeddings, Loss
from xmodal.objectives.cwcl import CWCL
from xmodal.objectives.engine.key_bank import KeyBank
from xmodal.objectives.infonce import InfoNCE
from xmodal.objectives.moco import MoCo
from xmodal.objectives.nt_xent import NTXent
from xmodal.objectives.objective import Need, Objective, ScaledObjective
from xmodal.objectives.siglip import SigLIP
from xmodal.objectives.supcon import SupCon

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
