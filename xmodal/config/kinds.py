"""Every kind xmodal has, by the name a config gives it. To add one: its file, and its line here."""

from xmodal.config.registry import Registry

OBJECTIVES = Registry(
    "objective",
    {
        "cwcl": "xmodal.objectives.softmax.cwcl:CWCL",
        "infonce": "xmodal.objectives.softmax.infonce:InfoNCE",
        "siglip": "xmodal.objectives.probabilistic.siglip:SigLIP",
        "nt_xent": "xmodal.objectives.softmax.nt_xent:NTXent",
        "moco": "xmodal.objectives.online.moco:MoCo",
        "supcon": "xmodal.objectives.softmax.supcon:SupCon",
        "simcon": "xmodal.objectives.softmax.simcon:SimCon",
        "x_clr": "xmodal.objectives.softmax.x_clr:XCLR",
        "label_smoothing": "xmodal.objectives.softmax.label_smoothing:LabelSmoothing",
        "hn_nce": "xmodal.objectives.softmax.hn_nce:HNNCE",
        "dcl": "xmodal.objectives.softmax.dcl:DCL",
        "n_pair": "xmodal.objectives.softmax.n_pair:NPair",
        "sogclr": "xmodal.objectives.softmax.sogclr:SogCLR",
        "pair": "xmodal.objectives.energy.pair:Pair",
        "triplet": "xmodal.objectives.energy.triplet:Triplet",
        "margin": "xmodal.objectives.energy.margin:Margin",
        "vse_pp": "xmodal.objectives.energy.vse_pp:VSEPP",
        "nce": "xmodal.objectives.probabilistic.nce:NCE",
        "bce": "xmodal.objectives.probabilistic.bce:BCE",
        "jsd": "xmodal.objectives.information.jsd:JSD",
        "donsker_varadhan": "xmodal.objectives.information.donsker_varadhan:DonskerVaradhan",
        "nwj": "xmodal.objectives.information.nwj:NWJ",
        "local_global": "xmodal.objectives.information.local_global:LocalGlobal",
        "momentum_targets": "xmodal.objectives.softmax.momentum_targets:MomentumTargets",
        "distillation": "xmodal.objectives.softmax.distillation:Distillation",
        "moco_v3": "xmodal.objectives.online.moco_v3:MoCoV3",
        "byol": "xmodal.objectives.online.byol:BYOL",
        "simsiam": "xmodal.objectives.online.simsiam:SimSiam",
        "cyclip": "xmodal.objectives.regularisers.cyclip:CyCLIP",
        "structure": "xmodal.objectives.regularisers.structure:Structure",
        "vicreg": "xmodal.objectives.regularisers.vicreg:VICReg",
        "barlow": "xmodal.objectives.regularisers.barlow:BarlowTwins",
        "oucl": "xmodal.objectives.metaug.oucl:OUCL",
        "metaug": "xmodal.objectives.metaug.metaug:MetAug",
        "codebook_diversity": "xmodal.objectives.regularisers.codebook_diversity:CodebookDiversity",
    },
    "xmodal.objectives",
    "xmodal.objectives.objective:Objective",
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
        "auto": "xmodal.objectives.auto_kernel:Auto",
    },
    "xmodal.kernels",
    "xmodal.objectives.kernels:Kernel",
)

HEADS = Registry(
    "head",
    {
        "identity": "xmodal.towers.heads:Identity",
        "linear": "xmodal.towers.heads:Linear",
        "mlp": "xmodal.towers.heads:MLP",
        "glu": "xmodal.towers.heads:GLU",
        "quantizer": "xmodal.towers.quantizer:Quantizer",
        "attention": "xmodal.towers.sequence_heads:Attention",
        "transformer": "xmodal.towers.sequence_heads:Transformer",
    },
    "xmodal.heads",
)

CORPORA = Registry(  # a function each: prepare(root, out, limit=None) -> {path written: rows}
    "corpus",
    {
        "audio_folder": "xmodal.corpora.sound.audio_folder:prepare",
        "audiocaps": "xmodal.corpora.sound.audiocaps:prepare",
        "cc12m": "xmodal.corpora.captions.caption_tars:prepare_cc12m",
        "cc3m": "xmodal.corpora.captions.caption_tars:prepare_cc3m",
        "cifar10": "xmodal.corpora.images.cifar:prepare_cifar10",
        "cifar100": "xmodal.corpora.images.cifar:prepare_cifar100",
        "clotho": "xmodal.corpora.sound.clotho:prepare",
        "coco": "xmodal.corpora.captions.coco:prepare",
        "coco_karpathy": "xmodal.corpora.captions.karpathy:prepare_coco",
        "common_voice": "xmodal.corpora.speech.common_voice:prepare",
        "esc10": "xmodal.corpora.sound.esc:prepare_esc10",
        "esc50": "xmodal.corpora.sound.esc:prepare_esc50",
        "flickr30k": "xmodal.corpora.captions.flickr30k:prepare",
        "flickr30k_karpathy": "xmodal.corpora.captions.karpathy:prepare_flickr30k",
        "fluent_speech_commands": "xmodal.corpora.speech.fluent_speech_commands:prepare",
        "fsdd": "xmodal.corpora.speech.fsdd:prepare",
        "image_folder": "xmodal.corpora.images.image_folder:prepare",
        "imagenet": "xmodal.corpora.images.imagenet:prepare",
        "imagenet_a": "xmodal.corpora.images.imagenet:prepare_a",
        "imagenet_r": "xmodal.corpora.images.imagenet:prepare_r",
        "imagenet_v2": "xmodal.corpora.images.imagenet:prepare_v2",
        "librispeech": "xmodal.corpora.speech.librispeech:prepare",
        "minds14": "xmodal.corpora.speech.minds14:prepare",
        "nlu_home": "xmodal.corpora.speech.nlu_home:prepare",
        "objectnet": "xmodal.corpora.images.objectnet:prepare",
        "slurp": "xmodal.corpora.speech.slurp:prepare",
        "slurp_audio": "xmodal.corpora.speech.slurp_audio:prepare",
        "speech_commands_v1": "xmodal.corpora.speech.speech_commands:prepare_v1",
        "speech_commands_v2": "xmodal.corpora.speech.speech_commands:prepare_v2",
        "speechocean762": "xmodal.corpora.speech.speechocean762:prepare",
        "stop": "xmodal.corpora.speech.stop:prepare",
        "urbansound8k": "xmodal.corpora.sound.urbansound8k:prepare",
        "yfcc15m": "xmodal.corpora.captions.caption_tars:prepare_yfcc15m",
    },
    "xmodal.corpora",
)

TOWERS = Registry(
    "tower",
    {
        "transformers": "xmodal.towers.kinds.transformers:TransformersTower",
        "open_clip": "xmodal.towers.kinds.open_clip:OpenCLIPTower",
        "timm": "xmodal.towers.kinds.timm:TimmTower",
        "speech_encoder": "xmodal.towers.own.speech_encoder:SpeechEncoderTower",
        "image_encoder": "xmodal.towers.own.image_encoder:ImageEncoderTower",
        "text_encoder": "xmodal.towers.own.text_encoder:TextEncoderTower",
        "onnx": "xmodal.towers.onnx_graph.kind:OnnxTower",
        "torchaudio": "xmodal.towers.torchaudio_bundle.kind:TorchaudioTower",
        "store": "xmodal.towers.kinds.store:StoreTower",
        "run": "xmodal.towers.kinds.run:RunTower",
    },
    "xmodal.towers",
)

EVALUATORS = Registry(
    "evaluator",
    {
        "speech_intent": "xmodal.evaluation.classification.speech_intent:SpeechIntent",
        "zero_shot": "xmodal.evaluation.classification.zero_shot:ZeroShot",
        "retrieval": "xmodal.evaluation.retrieval.retrieval:Retrieval",
        "label_sets": "xmodal.evaluation.label_sets.label_sets:LabelSets",
        "keywords": "xmodal.evaluation.keywords.keywords:Keywords",
        "folds": "xmodal.evaluation.folds.folds:Folds",
    },
    "xmodal.evaluators",
)

_TEMPLATE_SETS = """
    aircraft birdsnap caltech101 cars cifar clevr_counts clevr_counts_clip_benchmark country211 digits dtd eurosat
    fer2013 flowers102 food101 gtsrb image imagenet7 imagenet80 mnist name pcam pcam_clip_benchmark pets photo plain
    resisc45 resisc45_clip_benchmark sound speech_intent spoken_word sst2 stl10 sun397 svhn voc2007
"""

TEMPLATE_SETS = Registry(
    "template set",
    {name: f"xmodal.prompts.shipped:{name}" for name in _TEMPLATE_SETS.split()},
    "xmodal.template_sets",
)
