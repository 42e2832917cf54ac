"""The arrays of a CTranslate2 Whisper under the names that `transformers` has for them."""

from torch import Tensor

from xmodal.errors import UserError
from xmodal.towers.huggingface.speech.ctranslate2 import ModelFile


class _State:
    """Takes arrays over, and knows which."""

    def __init__(self, file: ModelFile):
        self.file, self.taken, self.found = file, set[str](), dict[str, Tensor]()

    def take(self, theirs: str) -> Tensor:
        self.taken.add(theirs)
        return self.file.tensor(theirs)

    def linear(self, ours: str, theirs: str) -> None:
        self.found[f"{ours}.weight"], self.found[f"{ours}.bias"] = (
            self.take(f"{theirs}/{part}") for part in ("weight", "bias")
        )

    def norm(self, ours: str, theirs: str) -> None:
        self.found[f"{ours}.weight"], self.found[f"{ours}.bias"] = (
            self.take(f"{theirs}/{part}") for part in ("gamma", "beta")
        )

    def fused(self, ours: str, parts: tuple[str, ...], theirs: str) -> None:
        """Several linear maps in one, rows after rows; Whisper's keys have no bias, and here zeros in its place."""
        weights = self.take(f"{theirs}/weight").chunk(len(parts))
        biases = self.take(f"{theirs}/bias").chunk(len(parts))
        for part, weight, bias in zip(parts, weights, biases, strict=True):
            self.found[f"{ours}.{part}.weight"] = weight
            if part != "k_proj":
                self.found[f"{ours}.{part}.bias"] = bias
            elif bias.any():
                raise UserError(
                    f"{self.file.path}: {theirs}/bias gives keys a bias, which no Whisper has; name another"
                )

    def self_attention(self, ours: str, theirs: str) -> None:
        self.norm(f"{ours}.self_attn_layer_norm", f"{theirs}/self_attention/layer_norm")
        self.fused(f"{ours}.self_attn", ("q_proj", "k_proj", "v_proj"), f"{theirs}/self_attention/linear_0")
        self.linear(f"{ours}.self_attn.out_proj", f"{theirs}/self_attention/linear_1")

    def cross_attention(self, ours: str, theirs: str) -> None:
        self.norm(f"{ours}.encoder_attn_layer_norm", f"{theirs}/attention/layer_norm")
        self.linear(f"{ours}.encoder_attn.q_proj", f"{theirs}/attention/linear_0")
        self.fused(f"{ours}.encoder_attn", ("k_proj", "v_proj"), f"{theirs}/attention/linear_1")
        self.linear(f"{ours}.encoder_attn.out_proj", f"{theirs}/attention/linear_2")

    def feed_forward(self, ours: str, theirs: str) -> None:
        self.norm(f"{ours}.final_layer_norm", f"{theirs}/ffn/layer_norm")
        self.linear(f"{ours}.fc1", f"{theirs}/ffn/linear_0")
        self.linear(f"{ours}.fc2", f"{theirs}/ffn/linear_1")

    def whole(self, side: str) -> dict[str, Tensor]:
        """What was taken, if nothing of that side is left over but numbers such as how many heads there are."""
        arrays = self.file.arrays
        left = [name for name in arrays if name.startswith(side) and arrays[name].shape and name not in self.taken]
        if left:
            raise UserError(f"{self.file.path}: holds {left[0]}, which no Whisper has; name a folder made from Whisper")
        return self.found


def layers_of(file: ModelFile, side: str) -> int:
    """How many blocks the encoder or the decoder has."""
    return sum(name.startswith(f"{side}/layer_") and name.endswith("/ffn/linear_0/weight") for name in file.arrays)


def encoder_state(file: ModelFile) -> dict[str, Tensor]:
    """The state of a `WhisperEncoder`, float32.

    Raises:
        UserError: arrays are missing, or are of something else.
    """
    state = _State(file)
    state.linear("conv1", "encoder/conv1")
    state.linear("conv2", "encoder/conv2")
    state.found["embed_positions.weight"] = state.take("encoder/position_encodings/encodings")
    for number in range(layers_of(file, "encoder")):
        state.self_attention(f"layers.{number}", f"encoder/layer_{number}")
        state.feed_forward(f"layers.{number}", f"encoder/layer_{number}")
    state.norm("layer_norm", "encoder/layer_norm")
    return state.whole("encoder/")


def decoder_state(file: ModelFile) -> dict[str, Tensor]:
    """The state of a `WhisperDecoder`, float32; its embedding of tokens is its output's map too.

    Raises:
        UserError: arrays are missing, or are of something else.
    """
    state = _State(file)
    state.found["embed_tokens.weight"] = state.take("decoder/embeddings/weight")
    if not file.tensor("decoder/projection/weight").equal(state.take("decoder/embeddings/weight")):
        raise UserError(f"{file.path}: its output is not tied to its embedding, as every Whisper's is; name another")
    state.taken.add("decoder/projection/weight")
    state.found["embed_positions.weight"] = state.take("decoder/position_encodings/encodings")
    for number in range(layers_of(file, "decoder")):
        state.self_attention(f"layers.{number}", f"decoder/layer_{number}")
        state.cross_attention(f"layers.{number}", f"decoder/layer_{number}")
        state.feed_forward(f"layers.{number}", f"decoder/layer_{number}")
    state.norm("layer_norm", "decoder/layer_norm")
    return state.whole("decoder/")
