"""CIFAR-10 as tensors, and what is done to a batch before the network sees it.

Pictures stay uint8 [n, 32, 32, 3] (RGB) until `normalise`. Everything random is drawn from torch's global generator, so a run repeats
with its seed.
"""

from __future__ import annotations

import io
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as ops

LABELS = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@dataclass
class Split:
    """Pixels uint8 [n, 32, 32, 3] (RGB) and labels int64 [n]."""

    pixels: Tensor
    labels: Tensor

    def take(self, index: Tensor) -> Split:
        return Split(self.pixels[index], self.labels[index])

    def __len__(self) -> int:
        return len(self.labels)


def read_split(archive: Path, cache: Path) -> Split:
    """Decode every JPEG of the archive (<split>/<class>/NNNN.jpg) with Pillow, in name order; keep the result in `cache`."""
    if not cache.exists():
        pixels, labels = [], []
        with zipfile.ZipFile(archive) as source:
            for name in sorted(n for n in source.namelist() if n.endswith(".jpg")):
                pixels.append(np.asarray(Image.open(io.BytesIO(source.read(name))).convert("RGB")))
                labels.append(LABELS.index(name.split("/")[-2]))
        partial = cache.with_name("partial-" + cache.name)
        np.savez(partial, pixels=np.stack(pixels), labels=np.array(labels, dtype=np.int64))
        os.replace(partial, cache)
    stored = np.load(cache)
    return Split(torch.from_numpy(stored["pixels"]), torch.from_numpy(stored["labels"]))


def hold_out(images: Split, count: int, seed: int) -> tuple[Split, Split]:
    """`count` images that training never sees, and the rest; the same for every run with this seed."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return images.take(order[:count]), images.take(order[count:])


def normalise(pixels: Tensor) -> Tensor:
    """uint8 [b, h, w, 3] to float32 [b, 3, h, w] in -1..1 (mean and std 0.5, ViTImageProcessor's defaults)."""
    return pixels.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def crop_and_flip(pixels: Tensor, pad: int = 4) -> Tensor:
    """Random crop out of the mirrored border and random horizontal flip, one draw an image."""
    batch, height, width, _ = pixels.shape
    padded = F.pad(pixels.permute(0, 3, 1, 2).float(), (pad, pad, pad, pad), mode="reflect").byte().permute(0, 2, 3, 1)
    rows = torch.randint(2 * pad + 1, (batch, 1)) + torch.arange(height)
    columns = torch.randint(2 * pad + 1, (batch, 1)) + torch.arange(width)
    columns = torch.where(torch.rand(batch, 1) < 0.5, columns.flip(1), columns)
    return padded[torch.arange(batch)[:, None, None], rows[:, :, None], columns[:, None, :]]


def _shifted(images: Tensor, angle: float = 0.0, x: float = 0.0, y: float = 0.0, scale: float = 1.0, shear: float = 0.0) -> Tensor:
    return ops.affine(images, angle, [round(x), round(y)], scale, [shear, 0.0], InterpolationMode.BILINEAR, fill=[128.0])


# The operations of RandAugment (arXiv 1909.13719, section 3.1), for strength -1..1; zooming out and in stands for crops of photos
# that are less tight than CIFAR's.
OPERATIONS = (
    lambda images, strength: _shifted(images, angle=30 * strength),
    lambda images, strength: _shifted(images, x=8 * strength),
    lambda images, strength: _shifted(images, y=8 * strength),
    lambda images, strength: _shifted(images, shear=17 * strength),
    lambda images, strength: _shifted(images, scale=1.35**strength),
    lambda images, strength: ops.adjust_brightness(images, 1 + 0.9 * strength),
    lambda images, strength: ops.adjust_contrast(images, 1 + 0.9 * strength),
    lambda images, strength: ops.adjust_saturation(images, 1 + 0.9 * strength),
    lambda images, strength: ops.adjust_sharpness(images, 1 + 0.9 * strength),
    lambda images, strength: ops.posterize(images, 8 - round(5 * abs(strength))),
    lambda images, strength: ops.solarize(images, 255 - round(191 * abs(strength))),
    lambda images, strength: ops.autocontrast(images),
    lambda images, strength: ops.equalize(images),
    lambda images, strength: ops.gaussian_blur(images, [3, 3], [0.3 + 0.7 * abs(strength)] * 2),
)


def random_operation(pixels: Tensor, probability: float, group: int = 8) -> Tensor:
    """One random operation at a random strength (TrivialAugment, arXiv 2103.10158), drawn for groups of images, which is what makes it cheap."""
    parts = []
    for part in pixels.split(group):
        if torch.rand(()) < probability:
            operation = OPERATIONS[int(torch.randint(len(OPERATIONS), ()))]
            strength = float(torch.rand(())) * 2 - 1
            part = operation(part.permute(0, 3, 1, 2), strength).permute(0, 2, 3, 1)
        parts.append(part)
    return torch.cat(parts)


def erase(images: Tensor, probability: float, side: int = 12) -> Tensor:
    """Random erasing (arXiv 1708.04896) of a square up to `side` pixels wide: set to grey; float [b, 3, h, w]."""
    if probability == 0.0:
        return images
    batch, _, height, width = images.shape
    half = torch.randint(2, side // 2 + 1, (batch, 1))
    row, column = torch.randint(height, (batch, 1)), torch.randint(width, (batch, 1))
    inside = ((torch.arange(height) - row).abs() < half)[:, :, None] & ((torch.arange(width) - column).abs() < half)[:, None, :]
    chosen = (torch.rand(batch) < probability)[:, None, None]
    return images.masked_fill((inside & chosen)[:, None], 0.0)


def mix(images: Tensor, targets: Tensor, cutmix: float, mixup: float) -> tuple[Tensor, Tensor]:
    """CutMix (arXiv 1905.04899), else mixup (arXiv 1710.09412), else nothing, with these probabilities for the whole batch.

    CutMix puts a square of another image into each one, mixup blends the two; the target is shared out by area or weight.
    """
    draw = float(torch.rand(()))
    if draw >= cutmix + mixup:
        return images, targets
    other, share = torch.randperm(len(images)), float(torch.rand(()))
    if draw < mixup:
        share = share / 2
        return torch.lerp(images, images[other], share), torch.lerp(targets, targets[other], share)
    size = images.shape[-1]
    side = int(size * share**0.5)
    top, left = (int(torch.randint(size - side + 1, ())) for _ in range(2))
    square = (..., slice(top, top + side), slice(left, left + side))
    images = images.clone()
    images[square] = images[other][square]
    return images, torch.lerp(targets, targets[other], side * side / (size * size))
