"""Embed every file of a folder, or every item of a manifest, into one file.

    xmodal embed runs/cifar photos --out photos.parquet
    xmodal embed open_clip:ViT-B-32@laion2b_s34b_b79k photos --out photos.npy
    xmodal embed runs/demo sentences.txt --modality text --out sentences.parquet

Folders are searched to their depths. Items that cannot be read are left out, counted and listed, also in the file.
Parquet: columns id, path (or text), a manifest's other columns, embedding. NPY: the matrix, and a .json beside it.
Search it: `xmodal search`. From 50,000 items on, where usearch is installed, an index is built beside the parquet file.
"""

import argparse
from pathlib import Path

from xmodal.commands.parsing import add_loading, add_model, command_parser
from xmodal.commands.paths import require_data, require_model

SHOWN = 10  # items that could not be read


def main(argv: list[str]) -> None:
    """Parse the options and call the library."""
    parser = command_parser("embed", __doc__)
    add_model(parser)
    parser.add_argument("source", type=Path, help="folder, manifest, or (texts) .txt file with one text per line")
    parser.add_argument(
        "--modality", help="what the items are, as the model calls it; default: the one that is no text"
    )
    parser.add_argument("--column", help="of the manifest (default: the modality's name)")
    parser.add_argument("--out", type=Path, required=True, help="FILE.parquet or FILE.npy")
    add_loading(parser)
    parser.add_argument(
        "--index", action=argparse.BooleanOptionalAction, help="an index beside the parquet file, however many items"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    options = parser.parse_args(argv)
    require_model(options.model)
    require_data(options.source)

    from xmodal import load
    from xmodal.commands.evaluate.model import side_of_items
    from xmodal.evaluation.embeddings.export import check_target, embed_items, write_embeddings
    from xmodal.evaluation.embeddings.found_items import find_items
    from xmodal.evaluation.embeddings.index_file import check_index_wanted, index_beside

    check_target(options.out, options.overwrite)
    check_index_wanted(options.out, options.index)
    encoder = load(options.model, dtype=options.dtype, trust_remote_code=options.trust_remote_code)
    modality = side_of_items(encoder, "--modality", options.modality)
    found = find_items(options.source, modality, encoder.kind(modality), options.column)
    embedded = embed_items(encoder, modality, found)
    write_embeddings(options.out, embedded, options.overwrite)
    skipped = embedded.info["skipped"]
    for name, reason in skipped[:SHOWN]:
        print(f"not read: {name}: {reason}")
    if len(skipped) > SHOWN:
        print(f"not read: {len(skipped) - SHOWN} more, all listed with the embeddings")
    for note in found.notes:
        print(f"note: {note}")
    print(f"{options.out}: {len(embedded.ids)} of {len(found.ids)} items, {embedded.info['dim']} dimensions")
    if options.out.suffix == ".parquet":
        told = index_beside(options.out, embedded.z, options.index)
        if told is not None:
            print(told)
