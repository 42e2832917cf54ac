"""A broken torchaudio, as left behind by an upgrade of torch, does not stop training and evaluation."""

import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from xmodal.report.report import read_report

CODE = """
import sys
import numpy as np
from xmodal.data.audio import read_audio
from xmodal.train import main

assert read_audio(sys.argv[1], 8_000).shape == (4_000,)
main(sys.argv[2:])

from xmodal import load

vectors = load("run").encode("speech", [sys.argv[1]])
assert np.isclose(np.linalg.norm(vectors), 1, atol=1e-5)
"""


@pytest.mark.slow
def test_a_broken_torchaudio_is_never_needed(tmp_path, tiny_config):
    broken = tmp_path / "broken" / "torchaudio"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise OSError('undefined symbol: a torch of another version')\n")
    tone = np.sin(2 * np.pi * 440 * np.arange(11_025) / 22_050)
    soundfile.write(tmp_path / "tone.wav", tone, 22_050)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(broken.parent), os.environ.get("PYTHONPATH")]))
    }
    command = [sys.executable, "-c", CODE, "tone.wav", str(tiny_config), "train.steps=2"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    assert "torchaudio does not import, so transformers goes on without it (OSError: undefined symbol" in done.stderr
    assert read_report(tmp_path / "run" / "report").records
