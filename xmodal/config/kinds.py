"""Every kind xmodal has, by the name a config gives it. To add one: its file, and its line here."""

from xmodal.config.registry import Registry

OBJECTIVES = Registry(
    "objective",
    {
        "cwcl": "xmodal.objectives.cwcl:CWCL",
        "infonce": "xmodal.objectives.infonce:InfoNCE",
        "siglip": "xmodal.objectives.siglip:SigLIP",
        "nt_xent": "xmodal.objectives.nt_xent:NTXent",
        "moco": "xmodal.objectives.moco:MoCo",
    },
    "xmodal.objectives",
)

KERNELS = Registry(
    "kernel",
    {
        "one_hot": "xmodal.objectives.kernels:OneHot",
        "affine": "xmodal.objectives.kernels:Affine",
        "power": "xmodal.objectives.kernels:Power",
        "exp": "xmodal.objectives.kernels:Exp",
        "softmax": "xmodal.objectives.kernels:Exp",  # the same after row normalisation
        "top_k": "xmodal.objectives.kernels:TopK",
        "threshold": "xmodal.objectives.kernels:Threshold",
        "perplexity": "xmodal.objectives.kernels:Perplexity",
    },
    "xmodal.kernels",
)

HEADS = Registry(
    "head",
    {
        "identity": "xmodal.towers.heads:Identity",
        "linear": "xmodal.towers.heads:Linear",
        "mlp": "xmodal.towers.heads:MLP",
    },
    "xmodal.heads",
)
