"""The student: Hugging Face's ViTForImageClassification as it stands, with a better start and cheaper training."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import ViTConfig, ViTForImageClassification

from .data import LABELS


class DropPath(nn.Module):
    """Stochastic depth (arXiv 1603.09382): drops a residual branch for a whole image while training."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return branch
        keep = torch.rand(branch.shape[0], 1, 1, device=branch.device) >= self.rate
        return branch * keep.to(branch.dtype) / (1.0 - self.rate)


class PatchDropout(nn.Module):
    """Keeps the class token and `kept` random patch tokens of each image while training (arXiv 2208.07220): a step costs less."""

    def __init__(self, kept: int) -> None:
        super().__init__()
        self.kept = kept

    def forward(self, tokens: Tensor) -> Tensor:
        batch, count, size = tokens.shape
        if not self.training or self.kept >= count - 1:
            return tokens
        chosen = torch.rand(batch, count - 1).argsort(1)[:, : self.kept]
        return torch.cat([tokens[:, :1], tokens[:, 1:].gather(1, chosen[:, :, None].expand(-1, -1, size))], 1)


def sincos_positions(grid: int, size: int) -> Tensor:
    """Sines and cosines of row and column at `size`/4 frequencies each: float32 [grid * grid, size] (arXiv 2205.01580, section 2)."""
    frequency = 100.0 ** -(torch.arange(size // 4) / (size // 4 - 1))
    row, column = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    angles = [axis.flatten()[:, None] * frequency for axis in (row, column)]
    return torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], dim=1)


def _factors(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Left and right [size, rank] with left right^T the best approximation of `matrix`, both of the same scale."""
    u, s, v = torch.linalg.svd(matrix)
    root = s[:rank].sqrt()
    return u[:, :rank] * root, v[:rank].T * root


def mimic_trained_attention(model: ViTForImageClassification) -> None:
    """Start attention where trained ViTs end up: a token attends to tokens like itself, and value and output together are about -identity.

    arXiv 2305.09828, section 4, with its constants 0.7, 0.7, 0.4, 0.4.
    """
    size, heads = model.config.hidden_size, model.config.num_attention_heads
    identity, rank = torch.eye(size), size // heads

    def noise() -> Tensor:
        return torch.randn(size, size) / size**0.5

    for layer in model.vit.layers:
        attention = layer.attention
        queries, keys = zip(*(_factors(0.7 * noise() + 0.7 * identity, rank) for _ in range(heads)), strict=True)
        attention.q_proj.weight.copy_(torch.cat(queries, 1).T)
        attention.k_proj.weight.copy_(torch.cat(keys, 1).T)
        out, value = _factors(0.4 * noise() - 0.4 * identity, size)
        attention.o_proj.weight.copy_(out)
        attention.v_proj.weight.copy_(value.T)


@torch.no_grad()
def build_student(patch: int, hidden: int, layers: int, heads: int, mlp_ratio: int, drop_path: float, mimic: bool = True) -> ViTForImageClassification:
    config = ViTConfig(
        image_size=32,
        patch_size=patch,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=hidden * mlp_ratio,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        layer_norm_eps=1e-6,  # as in the paper's own code
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
        # The backward pass of torch's flash attention for CPU takes longer than all the rest together at 65 tokens.
        attn_implementation="eager",
    )
    model = ViTForImageClassification(config)
    # Modules without weights that are called just where these belong, so that the checkpoint stays an ordinary one.
    model.vit.embeddings.dropout = PatchDropout(model.vit.embeddings.patch_embeddings.num_patches)
    for index, layer in enumerate(model.vit.layers):
        layer.dropout = DropPath(drop_path * index / max(1, layers - 1))
        for module in layer.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)  # 0.02 is meant for wider networks
    if mimic:
        mimic_trained_attention(model)
    nn.init.zeros_(model.classifier.weight)  # section 3.2 of the ViT paper
    # Learned positions that start from the plane's geometry: a short run has no time to find it out.
    model.vit.embeddings.position_embeddings[0, 1:] = 0.5 * sincos_positions(32 // patch, hidden)
    return model
