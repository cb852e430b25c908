"""The convolutional teacher: a small VGG-like network that learns CIFAR-10 in minutes and then says what it sees in the student's pictures.

A plain ViT must learn from data what a convolution knows from the start: that near pixels belong together. DeiT (arXiv 2012.12877,
section 3) lets a convolutional network pass that on. The teacher sees the very picture the student sees, mixed and erased as it is
(arXiv 2106.05237, section 3). It serves training alone and isn't part of the model.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .data import LABELS, Split, crop_and_flip, erase, normalise
from .muon import Muon


def _unit(inputs: int, outputs: int, pool: bool) -> list[nn.Module]:
    pooled = [nn.MaxPool2d(2)] if pool else []
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), *pooled, nn.BatchNorm2d(outputs), nn.GELU()]


def build_teacher(width: int) -> nn.Sequential:
    """Six 3x3 convolutions in three stages of `width`, 4 `width` and 4 `width` channels; float32 [b, 3, 32, 32] to logits [b, 10]."""
    wide = 4 * width
    layers = [nn.Conv2d(3, 24, 2), nn.GELU()]
    for inputs, outputs in ((24, width), (width, wide), (wide, wide)):
        layers += [*_unit(inputs, outputs, pool=True), *_unit(outputs, outputs, pool=False)]
    return nn.Sequential(*layers, nn.MaxPool2d(3), nn.Flatten(), nn.Linear(wide, len(LABELS))).to(memory_format=torch.channels_last)


@torch.no_grad()
def teach(teacher: nn.Module, images: Tensor) -> Tensor:
    """Logits float32 [b, 10] for normalised images [b, 3, 32, 32]."""
    with torch.autocast("cpu", torch.bfloat16):
        return teacher(images.contiguous(memory_format=torch.channels_last)).float()


def train_teacher(training: Split, held_out: Split, width: int, epochs: int, file: Path) -> nn.Module:
    """Train with Muon, or load what an earlier run left in `file`."""
    teacher = build_teacher(width)
    if file.exists():
        teacher.load_state_dict(torch.load(file, weights_only=True))
        return teacher.eval().requires_grad_(False)
    convolutions = [p for p in teacher.parameters() if p.ndim == 4]
    others = [p for p in teacher.parameters() if p.ndim != 4]
    batch = 256
    optimizers = [Muon(convolutions, 0.01, 0.3), torch.optim.AdamW(others, 0.01, weight_decay=0.01, fused=True)]
    peaks = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    steps, step, started = len(training) // batch, 0, time.monotonic()
    for epoch in range(epochs):
        teacher.train()
        for index in torch.randperm(len(training))[: steps * batch].split(batch):
            progress = step / (steps * epochs)
            share = min(progress / 0.15, (1 - progress) / 0.85)
            for optimizer, peak in zip(optimizers, peaks, strict=True):
                optimizer.param_groups[0]["lr"] = peak * share
            drawn = training.take(index)
            images = erase(normalise(crop_and_flip(drawn.pixels)), 0.3).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                logits = teacher(images)
            F.cross_entropy(logits.float(), drawn.labels, label_smoothing=0.1).backward()
            for optimizer in optimizers:
                optimizer.step()
            teacher.zero_grad()
            step += 1
        teacher.eval()
        logits = torch.cat([teach(teacher, normalise(part)) for part in held_out.pixels.split(500)])
        accuracy = (logits.argmax(1) == held_out.labels).float().mean().item()
        print(f"teacher epoch={epoch + 1} minutes={(time.monotonic() - started) / 60:.2f} validation_accuracy={accuracy:.4f}", flush=True)
    torch.save(teacher.state_dict(), file)
    return teacher.eval().requires_grad_(False)
