"""ImageNet's class names as open_clip ships them, read from the installed package: names by WordNet id."""

from xmodal.corpora.class_subsets import load_subset


def imagenet_classes() -> dict[str, str]:
    """WordNet id -> class name, the 1,000 classes of ImageNet in their usual order.

    The names are those curated for CLIP; 998 are distinct ("missile" and "sunglasses" name two classes each).

    Example:
        imagenet_classes()["n01440764"]  # "tench"
    """
    from open_clip import zero_shot_metadata  # late: it takes seconds

    return dict(zip(load_subset("imagenet").labels, zero_shot_metadata.IMAGENET_CLASSNAMES, strict=True))
