"""The one line that says that another library cannot hold a tower, and what can."""

from xmodal.errors import UserError

OTHERS = {
    "sentence-transformers": "--format onnx can, or leave this side out (--modalities)",
    "open_clip": "use --format onnx",
    "onnx": "leave this side out (--modalities)",
}


def cannot_hold(form: str, model: str, modality: str, why: str) -> UserError:
    """The error for a tower that a format has no place for.

    Example:
        raise cannot_hold("open_clip", "runs/demo", "speech", "its tower is a speech_encoder")
    """
    library = "an ONNX graph" if form == "onnx" else form
    return UserError(f"{model}: {modality}: {library} cannot hold it: {why}; {OTHERS[form]}")
