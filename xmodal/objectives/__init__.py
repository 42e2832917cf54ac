"""Objectives: embeddings in, loss out. Pure torch, usable as a plain library.

Example:
    embeddings = Embeddings.of(speech=z, text=k)                    # [N, D] each, unit norm
    CWCL(temperature=0.07)(embeddings, "speech", "text").value.backward()
"""

from xmodal.batch import Clock, Embeddings, Loss
from xmodal.frames import Frames
from xmodal.objectives.energy.margin import Margin
from xmodal.objectives.energy.pair import Pair
from xmodal.objectives.energy.triplet import Triplet
from xmodal.objectives.energy.vse_pp import VSEPP
from xmodal.objectives.engine.key_bank import KeyBank
from xmodal.objectives.information.donsker_varadhan import DonskerVaradhan
from xmodal.objectives.information.jsd import JSD
from xmodal.objectives.information.local_global import LocalGlobal
from xmodal.objectives.information.nwj import NWJ
from xmodal.objectives.metaug.metaug import MetAug
from xmodal.objectives.metaug.oucl import OUCL
from xmodal.objectives.objective import Need, Objective, ScaledObjective
from xmodal.objectives.online.byol import BYOL
from xmodal.objectives.online.moco import MoCo
from xmodal.objectives.online.moco_v3 import MoCoV3
from xmodal.objectives.online.simsiam import SimSiam
from xmodal.objectives.probabilistic.bce import BCE
from xmodal.objectives.probabilistic.nce import NCE
from xmodal.objectives.probabilistic.siglip import SigLIP
from xmodal.objectives.regularisers.barlow import BarlowTwins
from xmodal.objectives.regularisers.codebook_diversity import CodebookDiversity
from xmodal.objectives.regularisers.cyclip import CyCLIP
from xmodal.objectives.regularisers.structure import Structure
from xmodal.objectives.regularisers.vicreg import VICReg
from xmodal.objectives.softmax.cwcl import CWCL
from xmodal.objectives.softmax.dcl import DCL
from xmodal.objectives.softmax.distillation import Distillation
from xmodal.objectives.softmax.hn_nce import HNNCE
from xmodal.objectives.softmax.infonce import InfoNCE
from xmodal.objectives.softmax.label_smoothing import LabelSmoothing
from xmodal.objectives.softmax.momentum_targets import MomentumTargets
from xmodal.objectives.softmax.n_pair import NPair
from xmodal.objectives.softmax.nt_xent import NTXent
from xmodal.objectives.softmax.simcon import SimCon
from xmodal.objectives.softmax.sogclr import SogCLR
from xmodal.objectives.softmax.supcon import SupCon
from xmodal.objectives.softmax.x_clr import XCLR

__all__ = [
    "BCE",
    "BYOL",
    "CWCL",
    "DCL",
    "HNNCE",
    "JSD",
    "NCE",
    "NWJ",
    "OUCL",
    "VSEPP",
    "XCLR",
    "BarlowTwins",
    "Clock",
    "CodebookDiversity",
    "CyCLIP",
    "Distillation",
    "DonskerVaradhan",
    "Embeddings",
    "Frames",
    "InfoNCE",
    "KeyBank",
    "LabelSmoothing",
    "LocalGlobal",
    "Loss",
    "Margin",
    "MetAug",
    "MoCo",
    "MoCoV3",
    "MomentumTargets",
    "NPair",
    "NTXent",
    "Need",
    "Objective",
    "Pair",
    "ScaledObjective",
    "SigLIP",
    "SimCon",
    "SimSiam",
    "SogCLR",
    "Structure",
    "SupCon",
    "Triplet",
    "VICReg",
]
