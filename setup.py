"""The configs of the checkout, packed into the wheel as `xmodal/configs`; all else stands in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """Copies `configs/` beside the modules; an editable install reads the checkout's own folder."""

    def run(self) -> None:
        """Build the package."""
        super().run()
        if not self.editable_mode:
            shutil.copytree("configs", Path(self.build_lib, "xmodal", "configs"), dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithConfigs})
