"""Muon: momentum whose matrices are made orthogonal before they are applied.

After Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024); the step is scaled as in arXiv 2502.16982,
section 2.2, so that AdamW's learning rate and weight decay fit it. Only for weights inside a network; the others (embeddings, norms,
biases, head) are AdamW's.
"""

from __future__ import annotations

import torch
from torch import Tensor


def orthogonalised(matrices: Tensor, steps: int = 5) -> Tensor:
    """Newton-Schulz iteration towards U V^T of each matrix of [n, rows, columns]; singular values end in about 0.7..1.2."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.transpose(1, 2) if tall else matrices).bfloat16()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        square = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.775 * square + 2.0315 * square @ square) @ x
    return (x.transpose(1, 2) if tall else x).float()


class Muon(torch.optim.Optimizer):
    def __init__(self, matrices: list[Tensor], lr: float, weight_decay: float, momentum: float = 0.95) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for matrix in group["params"]:
                by_shape.setdefault(matrix.shape, []).append(matrix)
            for shape, matrices in by_shape.items():
                gradients = [m.grad for m in matrices]
                moments = [self.state[m].setdefault("moment", torch.zeros_like(m)) for m in matrices]
                torch._foreach_lerp_(moments, gradients, 1 - group["momentum"])
                blended = torch.stack(torch._foreach_lerp(gradients, moments, group["momentum"]))
                directions = orthogonalised(blended.flatten(2)).view_as(blended)  # a convolution is a matrix of its outputs
                torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(matrices, list(directions), alpha=-group["lr"] * 0.2 * max(shape[0], shape[1:].numel()) ** 0.5)
