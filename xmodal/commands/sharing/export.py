"""Write a run as a folder that another library loads.

    xmodal export runs/demo demo_onnx --format onnx
    xmodal export runs/lit exported --format sentence-transformers
    xmodal export runs/clip exported --format open_clip
    xmodal export runs/demo exported --format sentence-transformers --modalities text

OUT is a new folder: it is there whole or not at all. What a format cannot hold is said in one line (docs/export.md).
"""

from pathlib import Path

from xmodal.commands.parsing import add_model, command_parser
from xmodal.commands.paths import require_model
from xmodal.export.folder import FORMATS, require_free


def main(argv: list[str]) -> None:
    """Parse the options and call the library."""
    parser = command_parser("export", __doc__)
    add_model(parser)
    parser.add_argument("out", type=Path, help="the folder to write")
    parser.add_argument("--format", choices=FORMATS, required=True, help="the library that is to load it")
    parser.add_argument("--modalities", nargs="+", help="sides to export, as the run calls them (default: all)")
    parser.add_argument("--trust-remote-code", action="store_true", help="run code that came with the model's files")
    options = parser.parse_args(argv)
    require_model(options.model)

    from xmodal import load
    from xmodal.export.formats import export

    require_free(options.out)
    encoder = load(options.model, "cpu", trust_remote_code=options.trust_remote_code)
    lines = export(encoder, options.out, options.format, options.modalities)
    print("\n".join([*lines, f"{options.out}: {options.format}, of {options.model}"]))
