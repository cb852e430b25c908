"""Train the default model: a small plain Vision Transformer on CIFAR-10.

The network is Hugging Face's ViTForImageClassification as it stands (class token, learned positions, pre-norm blocks, exact GELU:
arXiv 2010.11929, section 3.1), so that what comes out is an ordinary checkpoint folder: config.json, model.safetensors,
preprocessor_config.json, training.csv.

Model selection looks at a validation split held out of the training images. The test images are read once, after the last step, and
only reported. The learning rate follows the work done: the share of --epochs or of --minutes that is used up, whichever is larger, so
that a run on a busy machine still ends with a full cosine. A run that isn't cut short by --minutes repeats with the same seed, up to the
rounding of the kernels.

    python tools/train_vit.py --data DIR --work /tmp/run --out models/vit-cifar10/1 --epochs 19 --minutes 24 --compile
"""

from __future__ import annotations

import argparse
import copy
import csv
import io
import json
import math
import os
import random
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

LABELS = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
CSV_COLUMNS = ["epoch", "minutes", "learning_rate", "train_loss", "validation_accuracy", "test_accuracy"]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds train.zip and test.zip (<split>/<class>/NNNN.jpg)")
    parser.add_argument("--work", type=Path, required=True, help="folder for the decoded images and the resumable checkpoint")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --work")
    parser.add_argument("--epochs", type=int, default=19)
    parser.add_argument("--minutes", type=float, default=math.inf, help="wall-clock budget, compilation and validation included")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="torch.compile the training step (needs a C++ compiler)")
    parser.add_argument("--float32", action="store_true", help="no bfloat16 autocast")
    parser.add_argument("--validation", type=int, default=5000, help="training images held out for model selection")
    for name, value in (("patch", 4), ("hidden", 128), ("layers", 6), ("heads", 4), ("mlp-ratio", 2), ("batch", 128)):
        parser.add_argument(f"--{name}", type=int, default=value)
    for name, value, text in (
        ("lr", 2e-3, "peak learning rate"),
        ("weight-decay", 0.05, "on matrices only"),
        ("beta2", 0.98, "AdamW's second moment; below 0.999 because the runs are short"),
        ("warmup", 0.06, "share of the run"),
        ("ema", 0.998, "decay of the averaged weights"),
        ("cutmix", 0.0, "probability of CutMix per batch"),
        ("smoothing", 0.05, "label smoothing"),
        ("drop-path", 0.0, "stochastic depth of the last block; rises linearly from 0"),
    ):
        parser.add_argument(f"--{name}", type=float, default=value, help=text)
    return parser.parse_args()


def seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


# --- data


@dataclass
class Split:
    """Pixels uint8 [n, 32, 32, 3] (RGB) and labels int64 [n]."""

    pixels: Tensor
    labels: Tensor

    def take(self, index: Tensor) -> Split:
        return Split(self.pixels[index], self.labels[index])


def read_split(archive: Path, cache: Path) -> Split:
    """Decode every JPEG of the archive with Pillow, in name order; keep the result in `cache`."""
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


def normalise(pixels: Tensor) -> Tensor:
    """uint8 [b, h, w, 3] to float32 [b, 3, h, w] in -1..1 (mean and std 0.5, ViTImageProcessor's defaults)."""
    return pixels.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def crop_and_flip(pixels: Tensor, pad: int = 4) -> Tensor:
    """Random crop out of the zero-padded image and random horizontal flip, one draw an image; uint8 [b, h, w, 3]."""
    batch, height, width, _ = pixels.shape
    padded = F.pad(pixels, (0, 0, pad, pad, pad, pad))
    rows = torch.randint(2 * pad + 1, (batch, 1)) + torch.arange(height)
    columns = torch.randint(2 * pad + 1, (batch, 1)) + torch.arange(width)
    columns = torch.where(torch.rand(batch, 1) < 0.5, columns.flip(1), columns)
    return padded[torch.arange(batch)[:, None, None], rows[:, :, None], columns[:, None, :]]


def cutmix(images: Tensor, targets: Tensor, probability: float) -> tuple[Tensor, Tensor]:
    """CutMix (arXiv 1905.04899, section 3.1): a square of each image, and its share of the target, comes from another one."""
    if random.random() >= probability:
        return images, targets
    size, other = images.shape[-1], torch.randperm(len(images))
    side = int(size * math.sqrt(np.random.uniform()))
    top, left = random.randint(0, size - side), random.randint(0, size - side)
    square = (..., slice(top, top + side), slice(left, left + side))
    images = images.clone()
    images[square] = images[other][square]
    return images, torch.lerp(targets, targets[other], side * side / (size * size))


# --- model


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


def sincos_positions(grid: int, size: int) -> Tensor:
    """Sines and cosines of row and column at `size`/4 frequencies each: float32 [grid * grid, size] (arXiv 2205.01580, section 2)."""
    frequency = 100.0 ** -(torch.arange(size // 4) / (size // 4 - 1))
    row, column = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    angles = [axis.flatten()[:, None] * frequency for axis in (row, column)]
    return torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], dim=1)


def build_model(args: argparse.Namespace) -> ViTForImageClassification:
    config = ViTConfig(
        image_size=32,
        patch_size=args.patch,
        hidden_size=args.hidden,
        num_hidden_layers=args.layers,
        num_attention_heads=args.heads,
        intermediate_size=args.hidden * args.mlp_ratio,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        layer_norm_eps=1e-6,  # as in the paper's own code
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
        # The backward pass of torch's flash attention for CPU takes longer than all the rest together at 65 tokens.
        attn_implementation="eager",
    )
    model = ViTForImageClassification(config)
    for index, layer in enumerate(model.vit.layers):
        # A block's one dropout module sits at the end of both branches, just where stochastic depth belongs; it has no weights.
        layer.dropout = DropPath(args.drop_path * index / max(1, args.layers - 1))
        for module in layer.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)  # 0.02 is meant for wider networks
    nn.init.zeros_(model.classifier.weight)  # section 3.2
    # Learned positions that start from the plane's geometry: a short run has no time to find it out.
    with torch.no_grad():
        table = model.vit.embeddings.position_embeddings
        table[0, 1:] = 0.5 * sincos_positions(32 // args.patch, args.hidden)
    return model


def make_optimizer(model: nn.Module, args: argparse.Namespace) -> torch.optim.AdamW:
    matrices = [p for n, p in model.named_parameters() if p.ndim > 1 and "embeddings" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim <= 1 or "embeddings" in n]
    groups = [{"params": matrices, "weight_decay": args.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, args.beta2), fused=True)


def learning_rate(progress: float, peak: float, warmup: float) -> float:
    """Linear warm-up, then cosine to zero; `progress` is the share of the run that is done (0..1)."""
    if progress < warmup:
        return peak * max(progress, 1e-4) / warmup
    return peak * 0.5 * (1.0 + math.cos(math.pi * min(1.0, (progress - warmup) / (1.0 - warmup))))


@torch.no_grad()
def average(into: nn.Module, model: nn.Module, decay: float) -> None:
    """Exponential moving average of the weights, parameter by parameter."""
    torch._foreach_lerp_(list(into.parameters()), list(model.parameters()), 1.0 - decay)


@torch.no_grad()
def count_correct(model: nn.Module, split: Split, autocast: bool) -> tuple[Tensor, Tensor]:
    """Correct and all images of each class: int64 [classes] twice."""
    model.eval()
    correct, total = torch.zeros(len(LABELS), dtype=torch.long), torch.bincount(split.labels, minlength=len(LABELS))
    for pixels, labels in zip(split.pixels.split(500), split.labels.split(500), strict=True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            hit = model(normalise(pixels)).logits.argmax(1) == labels
        correct += torch.bincount(labels[hit], minlength=len(LABELS))
    return correct, total


# --- run


@dataclass
class State:
    """All that a run needs to go on: counters, the table for training.csv, and the best averaged weights so far."""

    epoch: int
    step: int
    minutes: float
    rows: list[dict[str, str]]
    best_accuracy: float
    best_weights: dict[str, Tensor]


def save_checkpoint(path: Path, state: State, **parts: nn.Module | torch.optim.Optimizer) -> None:
    """Write beside the old checkpoint and rename over it: a run killed at any moment leaves a whole file."""
    partial = path.with_suffix(".partial")
    torch.save({"state": vars(state), **{name: part.state_dict() for name, part in parts.items()}}, partial)
    os.replace(partial, path)


def write_csv(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, CSV_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def save_model(model: ViTForImageClassification, out: Path) -> None:
    model.save_pretrained(out)
    processor = ViTImageProcessorPil(size={"height": 32, "width": 32}, resample=2, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    processor.save_pretrained(out)
    (out / "model.safetensors").chmod(0o644)  # safetensors writes it for the owner alone


def train(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    seed_all(args.seed)
    args.work.mkdir(parents=True, exist_ok=True)
    args.out.mkdir(parents=True, exist_ok=True)
    images = read_split(args.data / "train.zip", args.work / "train.npz")
    order = torch.randperm(len(images.labels), generator=torch.Generator().manual_seed(args.seed))
    held_out, training = images.take(order[: args.validation]), images.take(order[args.validation :])

    model = build_model(args)
    averaged = copy.deepcopy(model).requires_grad_(False)
    optimizer = make_optimizer(model, args)
    state = State(0, 0, 0.0, [], 0.0, {})
    checkpoint = args.work / "checkpoint.pt"
    if args.resume:
        stored = torch.load(checkpoint, weights_only=True)
        state = State(**stored["state"])
        for name, part in (("model", model), ("averaged", averaged), ("optimizer", optimizer)):
            part.load_state_dict(stored[name])

    def loss_of(inputs: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=not args.float32):
            logits = model(inputs).logits
        return F.cross_entropy(logits.float(), targets, label_smoothing=args.smoothing)

    step_loss = torch.compile(loss_of) if args.compile else loss_of
    steps = len(training.labels) // args.batch  # the remainder is dropped, so that compiled shapes never change
    started = time.monotonic() - 60.0 * state.minutes

    def progress() -> float:
        return max(state.step / (steps * args.epochs), (time.monotonic() - started) / 60.0 / args.minutes)

    while progress() < 1.0:
        seed_all(args.seed * 10_000 + state.epoch)  # by epoch, so that a resumed run draws what an unbroken one would
        model.train()
        losses: list[float] = []
        for index in torch.randperm(len(training.labels))[: steps * args.batch].split(args.batch):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(progress(), args.lr, args.warmup)
            batch = training.take(index)
            targets = F.one_hot(batch.labels, len(LABELS)).float()
            loss = step_loss(*cutmix(normalise(crop_and_flip(batch.pixels)), targets, args.cutmix))
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # table 3 clips at global norm 1
            optimizer.step()
            optimizer.zero_grad()
            state.step += 1
            average(averaged, model, min(args.ema, (1 + state.step) / (10 + state.step)))
            losses.append(loss.item())
            if progress() >= 1.0:
                break
        correct, total = count_correct(averaged, held_out, autocast=not args.float32)
        accuracy = (correct.sum() / total.sum()).item()
        if accuracy >= state.best_accuracy:
            state.best_accuracy = accuracy
            state.best_weights = copy.deepcopy(averaged.state_dict())
        state.epoch += 1
        state.minutes = (time.monotonic() - started) / 60.0
        rate, loss = optimizer.param_groups[0]["lr"], np.mean(losses)
        values = (str(state.epoch), f"{state.minutes:.2f}", f"{rate:.3g}", f"{loss:.4f}", f"{accuracy:.4f}", "")
        state.rows.append(dict(zip(CSV_COLUMNS, values, strict=True)))
        save_checkpoint(checkpoint, state, model=model, averaged=averaged, optimizer=optimizer)
        write_csv(args.out / "training.csv", state.rows)
        print(" ".join(f"{name}={value}" for name, value in state.rows[-1].items() if value), flush=True)

    averaged.load_state_dict(state.best_weights)
    correct, total = count_correct(averaged, read_split(args.data / "test.zip", args.work / "test.npz"), autocast=False)
    state.rows[-1]["test_accuracy"] = f"{correct.sum() / total.sum():.4f}"
    write_csv(args.out / "training.csv", state.rows)
    save_model(averaged, args.out)
    per_class = {label: round(100 * value, 1) for label, value in zip(LABELS, (correct / total).tolist(), strict=True)}
    summary = {"validation": state.best_accuracy, "test": float(correct.sum() / total.sum()), "test_percent_by_class": per_class}
    print(json.dumps(summary | {"minutes": round(state.minutes, 1), "parameters": sum(p.numel() for p in model.parameters())}, indent=1))


if __name__ == "__main__":
    train(parse_args())
