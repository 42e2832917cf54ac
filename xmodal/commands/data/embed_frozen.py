"""Run the frozen towers of a config once over its training data, so that training need not.

    xmodal embed-frozen my.yaml
    xmodal embed-frozen demo_cwcl data.train=data/demo/train.jsonl
    torchrun --nproc_per_node 4 data_prep/embed_frozen.py my.yaml data.workers=4

Makes the store of every tower of `kind: store`, and of every teacher, with a progress bar, and prints where it is.
Killed, it goes on where it was; a store that already matches the config is left as it is, any other is made again.
Several processes share the items, and `data.workers` more for each of them decode ahead of the model; the store is the
same.
"""

import os

from xmodal.commands.parsing import command_parser
from xmodal.commands.paths import find_yaml
from xmodal.commands.training.train import let_threads_wait
from xmodal.errors import UserError


def main(argv: list[str]) -> None:
    """Read the command line and the config, make the stores, say where they are."""
    parser = command_parser("embed-frozen", __doc__)
    parser.add_argument("config", help="a run's YAML file, or a shipped config's name")
    parser.add_argument("overrides", nargs="*", metavar="a.b=value", help="settings in place of the file's")
    options = parser.parse_args(argv)
    path = find_yaml(options.config)
    let_threads_wait()

    from xmodal.config.load import load_config
    from xmodal.towers.kinds.store import StoreTower

    config = load_config(path, options.overrides)
    specs = [found for found in config.all_towers() if isinstance(found[2], StoreTower.Spec)]
    if not specs:
        raise UserError(f"{path}: no tower of kind store; nothing to embed")

    import torch  # not needed to find a mistake in the config
    from accelerate import PartialState

    from xmodal.encoding.stores.build import build_store

    # on CPUs: unless told, every process is taken for the only one
    state = PartialState(cpu="LOCAL_RANK" in os.environ and not torch.cuda.is_available())
    for key, modality, spec in specs:
        assert isinstance(spec, StoreTower.Spec)
        store = build_store(spec, config, modality, remake=True, device=state.device, key=key)
        steps = f", {store.info['steps']:,} steps in all" if store.sequences else ""
        if state.is_main_process:
            print(f"{spec.path}: {len(store)} {modality} items{steps}, {store.width} features each")
    state.wait_for_everyone()  # who leaves first takes the others' connections away
    state.destroy_process_group()
