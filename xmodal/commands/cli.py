"""`xmodal COMMAND ...`: the list of commands, and the way to the one that is named.

Only the named command's module is imported, and each of those imports torch and the like when it has checked what was
typed: help and mistakes answer at once.
"""

import importlib
from difflib import get_close_matches

from xmodal import __version__
from xmodal.errors import UserError, run_script

COMMANDS = {  # name -> its module in this package, what it does
    "train": ("training.train", "train one config, or a shipped one by name (xmodal train demo_cwcl)"),
    "demo": ("training.demo", "make the demo's data, train on it, evaluate: train without arguments"),
    "teach": ("training.teach", "a file of phrases in, a run that understands people who say such things out"),
    "sweep": ("training.sweep", "train and compare many runs"),
    "compare-objectives": ("training.compare_objectives", "which objective: same data, seeds and seconds, one table"),
    "choose-kernel": (
        "training.choose_kernel",
        "choose the kernel of a config that says kernel: auto, before training",
    ),
    "objectives": ("training.objectives", "what objectives there are, and when to use which"),
    "prepare": ("data.prepare", "turn a corpus as it is published into manifests"),
    "verify": ("data.verify", "check a corpus' archives against their published checksums"),
    "synthesize": ("data.synthesize", "voice any JSONL of texts with espeak-ng"),
    "make-words": ("data.make_words", "frequent words of a guide's vocabulary, or pieces of texts, to be voiced"),
    "mix": ("data.mix", "one manifest out of several"),
    "split": ("data.split", "one manifest cut into train, dev and test"),
    "make-demo": ("data.make_demo", "write the demo's data and nothing else"),
    "embed-frozen": ("data.embed_frozen", "run a config's frozen towers once over its training data"),
    "zero-shot": ("evaluate.zero_shot", "zero-shot classification; one test, or a suite of them"),
    "speech-intent": ("evaluate.speech_intent", "spoken intents of a run, or of your own recordings"),
    "listen": ("speech.listen", "what is said into a microphone, or in a file, and what it means"),
    "keywords": ("speech.keywords", "keyword spotting: words, anything else, silence"),
    "folds": ("evaluate.folds", "classification by folds: by prompts, and by probes on the other folds"),
    "slurp-score": ("speech.slurp_score", "SLURP's official score of a prediction file, and the strict one"),
    "retrieval": ("evaluate.retrieval", "retrieval in both directions"),
    "robustness": ("evaluate.robustness", "how much the choice of prompts matters, for one run or several"),
    "probe": ("evaluate.probe", "linear probe, kNN, few-shot; what the embedding space looks like"),
    "compare": ("evaluate.compare", "two runs side by side, item by item"),
    "embed": ("evaluate.embed", "embeddings of a folder or a manifest as one file"),
    "index": ("evaluate.index", "an index beside such a file, for searches over millions of items"),
    "search": ("evaluate.search", "the items of such a file nearest to a text, an image or a sound"),
    "push": ("sharing.push", "a run on the Hugging Face hub, with a model card"),
    "app": ("sharing.app", "a page on this machine to speak to a run, show it pictures, search"),
    "mteb": ("sharing.mteb", "a run on tasks of mteb, by mteb itself"),
    "export": ("sharing.export", "a folder that sentence-transformers, open_clip or onnxruntime loads"),
}


def main(argv: list[str]) -> None:
    """List the commands, or run the one that `argv` names.

    Raises:
        UserError: no such command; or what the command raises.
    """
    name = argv[0] if argv else "--help"
    if name in ("-h", "--help", "help"):
        print(_overview())
    elif name in ("-V", "--version"):
        print(f"xmodal {__version__}")
    elif name in COMMANDS:
        importlib.import_module(f"{__package__}.{COMMANDS[name][0]}").main(argv[1:])
    else:
        near = get_close_matches(name.replace("_", "-"), COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(COMMANDS)}"
        raise UserError(f"{name}: no such command; {hint}")


def run() -> int:
    """What the console script calls: the command line's exit code."""
    return run_script(main)


def _overview() -> str:
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:{width}}{line}" for name, (_, line) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: xmodal COMMAND ...",
            "",
            "Align towers of different modalities, and measure what they can do zero-shot.",
            "",
            *lines,
            "",
            "xmodal COMMAND --help has the options and examples. --debug shows where a mistake was found.",
        ]
    )
