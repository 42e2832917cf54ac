"""Learning rate by depth: the nearer a backbone's block is to the input, the smaller its rate (BEiT, 2106.08254, A).

A backbone of L blocks, numbered 0 to L - 1 from the input: block i learns at `decay^(L - i)` of the rate, what comes
before the blocks (embeddings, first convolutions) at `decay^(L + 1)`, what comes after them, and heads, at the whole
rate.
"""

import re

from torch import nn

from xmodal.errors import UserError

# the numbers of blocks in parameters' names: ViT and CLIP, BERT, ConvNeXt and Swin (blocks within stages), ResNet, GPT
BLOCK = re.compile(r"(?:^|\.)((?:stages|layers)\.\d+\.blocks|layers?|layer\d+|blocks?|resblocks|stages|h)\.(\d+)\.")
# registered first since it is the module's own parameter, and used last: the projection of CLIP's towers
LAST = re.compile(r"(?:^|\.)(?:proj|text_projection)$")
BACKBONE = re.compile(r"towers\.(\w+)\.backbone\.(.+)")


def depth_scales(names: list[str], decay: float) -> dict[str, float] | None:
    """Each parameter's share of the rate, by its name in a backbone; None where no name has a block's number.

    Args:
        names: in the order of the backbone's modules, which is that of the depth.
        decay: the factor from one block to the next, above 0.

    Example:
        depth_scales(["embed.weight", "blocks.0.weight", "blocks.1.weight", "norm.weight"], 0.5)
        # {"embed.weight": 0.125, "blocks.0.weight": 0.25, "blocks.1.weight": 0.5, "norm.weight": 1.0}
    """
    blocks: dict[str, int] = {}  # everything up to a block's number -> how manieth block it is
    depths: list[int | None] = []
    for name in names:
        found = BLOCK.search(name)
        if found:
            depths.append(blocks.setdefault(name[: found.end()], len(blocks)))
        else:
            depths.append(-1 if not blocks and not LAST.search(name) else None)
    if not blocks:
        return None
    return {
        name: 1.0 if depth is None else decay ** (len(blocks) - depth)
        for name, depth in zip(names, depths, strict=True)
    }


def rates_by_depth(module: nn.Module, decay: float, ruled: set[str]) -> tuple[dict[str, float], list[str]]:
    """The share of the rate of every parameter of a backbone that trains, and a line for each such backbone.

    Args:
        module: whose towers' backbones are named `towers.SIDE.backbone`.
        decay: as above.
        ruled: parameters whose rate a rule says; they keep it.

    Raises:
        UserError: no backbone trains; one whose parameters' names number no blocks.
    """
    backbones: dict[str, dict[str, str]] = {}  # side -> name within the backbone -> whole name
    trains: set[str] = set()
    for name, parameter in module.named_parameters():
        found = BACKBONE.fullmatch(name)
        if found:
            backbones.setdefault(found[1], {})[found[2]] = name
            if parameter.requires_grad and name not in ruled:
                trains.add(name)
    scales: dict[str, float] = {}
    lines = []
    for side, names in backbones.items():
        own = {inner: name for inner, name in names.items() if name in trains}
        if not own:
            continue
        shares = depth_scales(_used(names, module), decay)
        if shares is None:
            raise UserError(
                f"optim.layer_decay: {decay:g}, but the names of the {side} backbone's parameters number no blocks, as "
                f"layers.3. would (the first is {next(iter(own))}); leave layer_decay out, or give that backbone a "
                f"rate in optim.rules: {{match: '^towers.{side}.backbone', lr_scale: 0.1}}"
            )
        scales |= {name: shares[inner] for inner, name in own.items()}
        lines.append(f"optim.layer_decay: {side}: {_shown([shares[inner] for inner in own])}")
    if not scales:
        raise UserError(
            f"optim.layer_decay: {decay:g}, but no backbone trains (but for what optim.rules name); leave it out"
        )
    return scales, lines


def _used(names: dict[str, str], module: nn.Module) -> list[str]:
    """A backbone's parameters without the blocks above the highest that trains: a chosen layer leaves them unused."""
    trains = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    inner = list(names)
    highest = max((at for at, name in enumerate(inner) if BLOCK.search(name) and names[name] in trains), default=None)
    if highest is None:
        return inner
    return [name for at, name in enumerate(inner) if at <= highest or not BLOCK.search(name)]


def _shown(shares: list[float]) -> str:
    """How many parameters have which share, as `5 at 0.125, 12 at 0.25, 2 at 1`."""
    return ", ".join(f"{shares.count(share)} parameters at {share:.3g}" for share in sorted(set(shares)))
