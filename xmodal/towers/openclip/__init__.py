"""Either side of open_clip's models. Imported only where a config names one."""

from xmodal.towers.huggingface import broken_torchaudio as broken_torchaudio  # first: open_clip imports transformers
