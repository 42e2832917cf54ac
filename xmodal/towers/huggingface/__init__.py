"""Text, speech, image and dual encoders of `transformers`. Imported only where a config names one."""

from xmodal.towers.huggingface import (
    broken_torchaudio as broken_torchaudio,  # first: transformers may import torchaudio
)
