"""Whisper as CTranslate2 keeps it (faster-whisper's folders), as the same model of `transformers`.

A folder holds model.bin (see `ctranslate2.py`), config.json (tokens that are suppressed, languages), vocabulary.txt or
.json, and sometimes the feature extractor's preprocessor_config.json. Sizes come from the arrays' shapes.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import transformers
from torch import Tensor, nn
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from xmodal.errors import UserError
from xmodal.towers.huggingface.model import TRAINING_EXTRAS
from xmodal.towers.huggingface.source import Source
from xmodal.towers.huggingface.speech.ctranslate2 import FILE, ModelFile, read_model_file
from xmodal.towers.huggingface.speech.ctranslate2_state import decoder_state, encoder_state, layers_of

SPECIFICATION, REVISION = "WhisperSpec", 3
GELU = 3  # CTranslate2's number of it
HEAD = 64  # width of an attention head in every Whisper; for files that do not say how many heads there are
MULTILINGUAL = 51_865  # tokens, at least: OpenAI's own rule
START, END, PLAIN = "<|startoftranscript|>", "<|endoftext|>", "<|notimestamps|>"


def is_ctranslate2(source: Source) -> bool:
    """Is it a folder of CTranslate2: model.bin, and a config.json that names no type of `transformers`?"""
    path = source.file("config.json")
    if path is None:
        return False
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False  # told where it is read
    return isinstance(config, dict) and "model_type" not in config and source.file(FILE) is not None


@dataclass(frozen=True)
class CTranslate2Whisper:
    """A Whisper out of such a folder; weights are read when a model is asked for."""

    source: Source
    file: ModelFile

    @classmethod
    def of(cls, source: Source) -> "CTranslate2Whisper":
        """Read what the file holds.

        Raises:
            UserError: damaged, of another model, or quantised.
        """
        path = source.file(FILE)
        assert path is not None
        file = read_model_file(path)
        if file.specification != SPECIFICATION or file.revision > REVISION:
            raise UserError(
                f"tower {source.name!r}: {path} holds a {file.specification} of revision {file.revision}; only "
                f"{SPECIFICATION} up to revision {REVISION} is understood; name a folder converted from Whisper"
            )
        for name, array in file.arrays.items():
            if name.endswith("weight") and not array.dtype.is_floating_point:
                kind = str(array.dtype).removeprefix("torch.")
                raise UserError(
                    f"tower {source.name!r}: {path} is quantised to {kind}, which loses what a frozen encoder is for; "
                    "convert the model anew: ct2-transformers-converter --model NAME --quantization float16 "
                    "--output_dir FOLDER"
                )
        return cls(source, file)

    @cached_property
    def vocabulary(self) -> list[str]:
        """The tokens, in the letters of byte-level BPE.

        Raises:
            UserError: missing, damaged, or of another model.
        """
        size = self.file.array("decoder/embeddings/weight").shape[0]
        found = self.source.json("vocabulary.json")
        path = self.source.file("vocabulary.txt") if found is None else None
        if path is not None:
            found = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        if not isinstance(found, list) or len(found) != size or not {START, END} <= set(map(str, found)):
            raise UserError(
                f"tower {self.source.name!r}: expected vocabulary.json or vocabulary.txt with the model's {size:,} "
                f"tokens, {START} and {END} among them; copy the whole folder anew"
            )
        return [str(token) for token in found]

    @cached_property
    def config(self) -> Any:
        """The config `transformers` has for such a model.

        Raises:
            UserError: arrays are missing, or the model is not built as Whisper is.
        """
        if int(self.file.tensor("decoder/activation")) != GELU or int(self.file.tensor("decoder/scale_embeddings")):
            raise UserError(f"tower {self.source.name!r}: {self.file.path} is not built as Whisper is; name another")
        width, mels = self.file.array("encoder/conv1/weight").shape[:2]
        return transformers.WhisperConfig(
            vocab_size=self.file.array("decoder/embeddings/weight").shape[0],
            num_mel_bins=mels,
            d_model=width,
            encoder_layers=layers_of(self.file, "encoder"),
            decoder_layers=layers_of(self.file, "decoder"),
            encoder_attention_heads=self._heads("encoder", width),
            decoder_attention_heads=self._heads("decoder", width),
            encoder_ffn_dim=self.file.array("encoder/layer_0/ffn/linear_0/weight").shape[0],
            decoder_ffn_dim=self.file.array("decoder/layer_0/ffn/linear_0/weight").shape[0],
            max_source_positions=self.file.array("encoder/position_encodings/encodings").shape[0],
            max_target_positions=self.file.array("decoder/position_encodings/encodings").shape[0],
            pad_token_id=self._token(END),
            bos_token_id=self._token(END),
            eos_token_id=self._token(END),
            decoder_start_token_id=self._token(START),
            **{name: value for name, value in TRAINING_EXTRAS.items() if name != "layerdrop"},
        )

    @cached_property
    def extractor(self) -> Any:
        """The folder's own feature extractor, else the one that all Whispers of this many mel bins share."""
        path = self.source.file("preprocessor_config.json")
        if path is not None:
            return transformers.WhisperFeatureExtractor.from_pretrained(path.parent)
        seconds = round(2 * self.config.max_source_positions * 160 / 16_000)
        return transformers.WhisperFeatureExtractor(feature_size=self.config.num_mel_bins, chunk_length=seconds)

    def encoder(self, weights: bool = True) -> Any:
        """`WhisperEncoder` in float32; without `weights` with random ones."""
        model = WhisperEncoder(self.config)
        if weights:
            self._fill(model, encoder_state(self.file))
        return model

    def whole(self) -> Any:
        """`WhisperForConditionalGeneration` in float32, with what its `generate` needs to know."""
        model = transformers.WhisperForConditionalGeneration(self.config)
        self._fill(model.model.encoder, encoder_state(self.file))
        self._fill(model.model.decoder, decoder_state(self.file))
        model.tie_weights()
        model.generation_config = self.generation_config()
        return model.eval()

    def generation_config(self) -> Any:
        """As OpenAI's own tokenizer has it."""
        settings = self.source.json("config.json")
        languages = {self.vocabulary[at]: at for at in settings.get("lang_ids") or [] if at < len(self.vocabulary)}
        several = self.config.vocab_size >= MULTILINGUAL
        tasks = {task: self._token(f"<|{task}|>") for task in ("transcribe", "translate")} if several else {}
        known = {"no_timestamps_token_id": self._token(PLAIN)} if PLAIN in self.vocabulary else {}
        return transformers.GenerationConfig(
            bos_token_id=self.config.bos_token_id,
            eos_token_id=self.config.eos_token_id,
            pad_token_id=self.config.pad_token_id,
            decoder_start_token_id=self.config.decoder_start_token_id,
            max_length=self.config.max_target_positions,
            suppress_tokens=settings.get("suppress_ids") or None,
            begin_suppress_tokens=settings.get("suppress_ids_begin") or None,
            is_multilingual=several,
            return_timestamps=False,
            max_initial_timestamp_index=50,
            **({"lang_to_id": languages, "task_to_id": tasks} if several else {}),
            **known,
        )

    def _fill(self, model: nn.Module, state: dict[str, Tensor]) -> None:
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"tower {self.source.name!r}: {self.file.path} is no whole Whisper ({reason})") from error

    def _heads(self, side: str, width: int) -> int:
        name = f"{side}/num_heads"
        return int(self.file.tensor(name)) if name in self.file.arrays else width // HEAD

    def _token(self, token: str) -> int:
        return self.vocabulary.index(token)
