"""A page on this machine to try a run: speak, drop a picture, search.

    xmodal app runs/demo                                  # http://127.0.0.1:7860 until Ctrl-C
    xmodal app runs/mine runs/mine_cl --port 8000         # two runs, asked the same, side by side
    xmodal app runs/cifar --search photos.parquet         # and search what `xmodal embed` has embedded

Speak into the microphone, or drop a recording or a picture, type what it may be, one a line, and see the ranking with
scores; sentences as in `xmodal speech-intent --audio`. Only this machine can open the page. Uploads are deleted when
the command ends. The page hands out no file of this machine; of what was embedded it shows pictures and recordings.
Needs: pip install 'xmodal[app]'.
"""

import time
from importlib.util import find_spec
from pathlib import Path

from xmodal.commands.parsing import add_model, at_least, command_parser
from xmodal.commands.paths import require_model
from xmodal.errors import UserError, no_such_file


def main(argv: list[str]) -> None:
    """Parse the options, load the models, serve until Ctrl-C."""
    parser = command_parser("app", __doc__)
    add_model(parser, "run")
    add_model(parser, "second", metavar="run2", nargs="?")
    parser.add_argument("--search", type=Path, metavar="FILE", help="embeddings to search, made by `xmodal embed`")
    parser.add_argument("--prompts", help="template set or YAML file, in place of the run's own")
    parser.add_argument("--port", type=at_least(1, "--port", 65_535), default=7860, help="of 127.0.0.1 (7860)")
    parser.add_argument("--max-mb", type=at_least(1, "--max-mb"), default=50, help="largest upload, MB (50)")
    parser.add_argument(
        "--trust-remote-code", action="store_true", help="run code from outside xmodal that a run needs"
    )
    options = parser.parse_args(argv)
    names = [name for name in (options.run, options.second) if name is not None]
    for name in names:
        require_model(name)
    if len(set(names)) < len(names):
        raise UserError(f"{options.run}: given twice; name two runs, or one")
    if options.search is not None and not options.search.is_file():
        raise no_such_file(options.search, "make it with xmodal embed")
    if find_spec("gradio") is None:
        raise UserError("gradio is not installed, and the page needs it; pip install 'xmodal[app]'")

    from xmodal.app.serving import end_on_signals, require_free, served

    require_free(options.port)

    from xmodal.app.models import load_models
    from xmodal.app.shelf import open_shelf, searchers
    from xmodal.app.tasks import require_some

    shelf = open_shelf(options.search) if options.search is not None else None
    for note in shelf.notes if shelf is not None else ():
        print(f"note: {note}", flush=True)
    models = load_models(names, options.prompts, options.trust_remote_code)
    require_some([task for model in models for task in model.tasks], models[0].encoder, shelf is not None)
    able = searchers(shelf, models) if shelf is not None else []

    def build() -> object:
        from xmodal.app.page import build_page

        return build_page(models, shelf, able)

    end_on_signals()
    try:
        with served(build, options.port, options.max_mb) as address:
            print(f"{address}  (Ctrl-C ends it)", flush=True)
            while True:
                time.sleep(3600)
    except KeyboardInterrupt:
        print("closed; uploads are deleted")
