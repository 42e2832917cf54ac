"""Objectives: embeddings in, loss out. Pure torch, usable as a plain library.

Example:
    embeddings = Embeddings.of(speech=z, text=k)                    # [N, D] each, unit norm
    CWCL(temperature=0.07)(embeddings, "speech", "text").value.backward()
"""

from xmodal.batch import Clock, Embeddings, Loss
from xmodal.objectives.engine.key_bank import KeyBank
from xmodal.objectives.objective import Need, Objective, ScaledObjective
from xmodal.objectives.online.byol import BYOL
from xmodal.objectives.online.moco import MoCo
from xmodal.objectives.online.moco_v3 import MoCoV3
from xmodal.objectives.online.simsiam import SimSiam
from xmodal.objectives.probabilistic.siglip import SigLIP
from xmodal.objectives.regularisers.barlow import BarlowTwins
from xmodal.objectives.regularisers.cyclip import CyCLIP
from xmodal.objectives.regularisers.structure import Structure
from xmodal.objectives.regularisers.vicreg import VICReg
from xmodal.objectives.softmax.cwcl import CWCL
from xmodal.objectives.softmax.dcl import DCL
from xmodal.objectives.softmax.hn_nce import HNNCE
from xmodal.objectives.softmax.infonce import InfoNCE
from xmodal.objectives.softmax.label_smoothing import LabelSmoothing
from xmodal.objectives.softmax.n_pair import NPair
from xmodal.objectives.softmax.nt_xent import NTXent
from xmodal.objectives.softmax.simcon import SimCon
from xmodal.objectives.softmax.sogclr import SogCLR
from xmodal.objectives.softmax.supcon import SupCon
from xmodal.objectives.softmax.x_clr import XCLR

__all__ = [
    "BYOL",
    "CWCL",
    "DCL",
    "HNNCE",
    "XCLR",
    "BarlowTwins",
    "Clock",
    "CyCLIP",
    "Embeddings",
    "InfoNCE",
    "KeyBank",
    "LabelSmoothing",
    "Loss",
    "MoCo",
    "MoCoV3",
    "NPair",
    "NTXent",
    "Need",
    "Objective",
    "ScaledObjective",
    "SigLIP",
    "SimCon",
    "SimSiam",
    "SogCLR",
    "Structure",
    "SupCon",
    "VICReg",
]
