"""Embed every file of a folder, or every item of a manifest, into one file.

    python eval/embed.py runs/cifar photos --out photos.parquet
    python eval/embed.py open_clip:ViT-B-32@laion2b_s34b_b79k photos --out photos.npy
    python eval/embed.py runs/demo sentences.txt --modality text --out sentences.parquet

Folders are searched to their depths. Items that cannot be read are left out, counted and listed, also in the file.
Parquet: columns id, path (or text), embedding. NPY: the matrix, and a .json beside it. Search it: eval/search.py.
"""

import argparse
import sys
from pathlib import Path

from xmodal.errors import run_script

SHOWN = 10  # items that could not be read


def main(argv: list[str]) -> None:
    """Parse the options and call the library."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="run folder, open_clip:NAME[@PRETRAINED] or transformers:NAME_OR_FOLDER")
    parser.add_argument("source", type=Path, help="folder, manifest, or (texts) .txt file with one text per line")
    parser.add_argument("--modality", default="image", help="what the items are, as the model calls it (image)")
    parser.add_argument("--column", help="of the manifest (default: the modality's name)")
    parser.add_argument("--out", type=Path, required=True, help="FILE.parquet or FILE.npy")
    parser.add_argument("--dtype", choices=["fp32", "bf16", "fp16"], default="fp32", help="what the model runs in")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    options = parser.parse_args(argv)

    from xmodal import load
    from xmodal.evaluation.embeddings.export import check_target, embed_items, find_items, write_embeddings

    check_target(options.out, options.overwrite)
    encoder = load(options.model, dtype=options.dtype)
    found = find_items(options.source, options.modality, encoder.kind(options.modality), options.column)
    embedded = embed_items(encoder, options.modality, found)
    write_embeddings(options.out, embedded, options.overwrite)
    skipped = embedded.info["skipped"]
    for name, reason in skipped[:SHOWN]:
        print(f"not read: {name}: {reason}")
    if len(skipped) > SHOWN:
        print(f"not read: {len(skipped) - SHOWN} more, all listed with the embeddings")
    print(f"{options.out}: {len(embedded.ids)} of {len(found.ids)} items, {embedded.info['dim']} dimensions")


if __name__ == "__main__":
    sys.exit(run_script(main))
