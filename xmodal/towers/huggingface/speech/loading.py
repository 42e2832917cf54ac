"""From a config of `transformers` to the speech encoder it describes, with its processor."""

from typing import Any

import transformers
from torch import nn

from xmodal.errors import UserError
from xmodal.towers.huggingface.model import build_model
from xmodal.towers.huggingface.source import Source
from xmodal.towers.huggingface.speech.audio_spectrogram import load_ast
from xmodal.towers.huggingface.speech.ctranslate2_whisper import CTranslate2Whisper
from xmodal.towers.huggingface.speech.processor import SpeechProcessor
from xmodal.towers.huggingface.speech.waveform import WAVEFORM, load_waveform
from xmodal.towers.huggingface.speech.whisper import load_whisper, whisper_tower
from xmodal.towers.kinds.transformers import TransformersTower

SPEECH = (*WAVEFORM, "whisper", "audio-spectrogram-transformer")


def load_speech(spec: TransformersTower.Spec, source: Source, config: Any) -> tuple[nn.Module, SpeechProcessor]:
    """Build a speech encoder and its processor.

    Raises:
        UserError: a pooling, a window or layers the family does not have, or files that cannot be read.
    """
    kind = config.model_type
    require_speech(spec, kind)
    try:
        extractor = transformers.AutoFeatureExtractor.from_pretrained(source.location, **source.options())
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise source.unreadable(error, "feature extractor") from error
    if kind == "whisper":
        return load_whisper(spec, source, config, extractor)
    model = build_model(transformers.AutoModel, source, config, spec.mode)
    if kind == "audio-spectrogram-transformer":
        return load_ast(spec, model, extractor, "mean" if spec.pooling == "auto" else spec.pooling)
    return load_waveform(spec, model, extractor)


def require_speech(spec: TransformersTower.Spec, kind: str) -> None:
    """Raise `UserError` for a key that says nothing of such a model."""
    allowed = ("auto", "mean", "cls") if kind == "audio-spectrogram-transformer" else ("auto", "mean")
    if spec.pooling not in allowed:
        raise UserError(f"tower {spec.name!r}: pooling {spec.pooling!r}: a {kind} model has {', '.join(allowed)}")
    if spec.max_length is not None:
        raise UserError(f"tower {spec.name!r}: max_length counts tokens of text; leave it out for speech")


def load_ctranslate2(spec: TransformersTower.Spec, source: Source) -> tuple[nn.Module, SpeechProcessor]:
    """Whisper's encoder out of a folder of CTranslate2, and its processor; random weights for mode scratch.

    Raises:
        UserError: another model, a damaged or quantised one, a window or layers it does not have.
    """
    require_speech(spec, "whisper")
    whisper = CTranslate2Whisper.of(source)
    return whisper_tower(spec, whisper.encoder(weights=spec.mode != "scratch"), whisper.extractor)
