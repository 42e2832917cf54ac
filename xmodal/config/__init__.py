"""What a run is (`schema`), and how a YAML file and a command line become one (`load`). Imports no torch.

Example:
    config = load_config("configs/demo_cwcl.yaml", ["train.steps=500"])
"""

from xmodal.config.load import config_differences, dump_config, load_config
from xmodal.config.schema import RunConfig

__all__ = ["RunConfig", "config_differences", "dump_config", "load_config"]
