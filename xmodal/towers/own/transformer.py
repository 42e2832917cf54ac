"""What xmodal's own encoders of sequences share: transformer layers, attention pooling, positions.

Input: x [B, T, width] and which of its steps are valid. Output: the same, or one vector per item. Steps that are not
valid change nothing. Axes: B items, T steps.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """A pre-norm transformer layer: x + attention(norm(x)), then x + W2 gelu(W1 norm(x)).

    Args:
        width: of x [B, T, width].
        heads: attention heads.
        feed_forward: rows of W1.
        dropout: on each branch's output.
    """

    def __init__(self, width: int, heads: int, feed_forward: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, feed_forward)
        self.contract = nn.Linear(feed_forward, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, T, width], mask [B, 1, 1, T] true where a step is valid -> [B, T, width]."""
        q, k, v = (split_heads(part, self.heads) for part in self.qkv(self.attention_norm(x)).chunk(3, dim=-1))
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.dropout(self.out(attended.transpose(1, 2).flatten(2)))
        return x + self.dropout(self.contract(F.gelu(self.expand(self.mlp_norm(x)))))


class AttentionPooling(nn.Module):
    """sum_t softmax_t(q_h . K_h x_t / sqrt(d)) V_h x_t per head h, then a linear map.

    Args:
        width: of x [B, T, width].
        heads: learned queries q_h, of d = width / heads each.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(torch.randn(1, heads, 1, width // heads))
        self.kv = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, T, width], mask [B, 1, 1, T] -> [B, width]."""
        k, v = (split_heads(part, self.heads) for part in self.kv(x).chunk(2, dim=-1))
        query = self.query.to(k.dtype).expand(x.shape[0], -1, -1, -1)
        return self.out(F.scaled_dot_product_attention(query, k, v, attn_mask=mask).flatten(1))


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[B, T, heads * d] -> [B, heads, T, d]."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def sinusoids(steps: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Positions [steps, width] (Vaswani et al. 2017, section 3.5), sines in the first half, cosines in the second."""
    sines = (width + 1) // 2
    rates = torch.exp(torch.arange(sines, device=device) * (-math.log(10000.0) / sines))
    angles = torch.arange(steps, device=device)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()[:, : width - sines]], dim=1)
