"""Run the frozen towers of a config once over its training data, so that training need not.

    python data_prep/embed_frozen.py configs/demo_cwcl.yaml
    python data_prep/embed_frozen.py configs/demo_cwcl.yaml data.train=data/demo/train.jsonl

Makes the store of every tower of `kind: store`, with a progress bar, and prints where it is. Killed, it goes on where
it was; a store that already matches the config is left as it is, any other is made again.
"""

import argparse
import sys

from xmodal.config.load import load_config
from xmodal.errors import UserError, run_script
from xmodal.towers.from_store import StoreTower


def main(argv: list[str]) -> None:
    """Read the command line and the config, make the stores, say where they are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="a run's YAML file")
    parser.add_argument("overrides", nargs="*", metavar="a.b=value", help="settings in place of the file's")
    options = parser.parse_args(argv)
    config = load_config(options.config, options.overrides)
    specs = {name: spec for name, spec in config.towers.items() if isinstance(spec, StoreTower.Spec)}
    if not specs:
        raise UserError(f"{options.config}: no tower of kind store; nothing to embed")
    from xmodal.encoding.store_build import build_store  # torch: not needed to find a mistake in the config

    for modality, spec in specs.items():
        store = build_store(spec, config, modality, remake=True)
        print(f"{spec.path}: {len(store)} {modality} items, {store.width} features each")


if __name__ == "__main__":
    sys.exit(run_script(main))
