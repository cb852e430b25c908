"""Train the default model: a small plain Vision Transformer on CIFAR-10, taught by a small convolutional network.

The network is Hugging Face's ViTForImageClassification as it stands (class token, learned positions, pre-norm blocks, exact GELU:
arXiv 2010.11929, section 3.1), so that what comes out is an ordinary checkpoint folder: config.json, model.safetensors,
preprocessor_config.json, with training.csv and report.json beside it.

Model selection and calibration look at a validation split held out of the training images. The test images are read once, after the
last step, and only reported. The learning rate follows the work done: the share of --epochs or of --minutes that is used up,
whichever is larger, so that a run on a busy machine still ends with a full cosine. --resume goes on from the last whole epoch. A run
that isn't cut short by --minutes repeats with the same seed, up to the rounding of the kernels.

    python tools/default-model/train.py --data DIR --work /tmp/run --out models/vit-cifar10/1 --minutes 100
"""

from __future__ import annotations

import argparse
import copy
import csv
import math
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, distributed, multiprocessing, nn
from torch.nn import functional as F
from training.data import LABELS, Split, crop_and_flip, erase, hold_out, mix, normalise, random_operation, read_split
from training.muon import Muon
from training.network import build_student
from training.report import calibrate, predict, write_report
from training.teacher import teach, train_teacher
from transformers import ViTForImageClassification, ViTImageProcessorPil

CSV_COLUMNS = ["epoch", "minutes", "learning_rate", "train_loss", "validation_accuracy"]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds train.zip and test.zip (<split>/<class>/NNNN.jpg)")
    parser.add_argument("--work", type=Path, required=True, help="folder for the decoded images, the teacher and the resumable checkpoint")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --work")
    parser.add_argument("--epochs", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=math.inf, help="budget of the student; time spent suspended isn't counted")
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="no torch.compile (which needs a C++ compiler)")
    parser.add_argument("--adamw", action="store_true", help="AdamW for all weights, no Muon")
    parser.add_argument("--no-mimic", dest="mimic", action="store_false", help="ordinary random start of the attention")
    for name, value, text in (
        ("seed", 1, ""),
        ("processes", 2, "that share each batch, one thread each: they wait for each other once a step, threads would at every operation"),
        ("validation", 5000, "training images held out for model selection and calibration"),
        ("patch", 4, ""),
        ("hidden", 192, ""),
        ("layers", 4, ""),
        ("heads", 3, ""),
        ("mlp-ratio", 2, ""),
        ("batch", 128, ""),
        ("teacher-width", 48, "channels of the teacher's first stage"),
        ("teacher-epochs", 10, ""),
    ):
        parser.add_argument(f"--{name}", type=int, default=value, help=text)
    for name, value, text in (
        ("lr", 2e-3, "peak learning rate"),
        ("weight-decay", 0.05, "on matrices only"),
        ("beta2", 0.98, "AdamW's second moment; below 0.999 because the runs are short"),
        ("warmup", 0.06, "share of the run"),
        ("ema", 0.999, "decay of the averaged weights"),
        ("operation", 0.5, "probability of a random operation on a group of images"),
        ("cutmix", 0.4, "probability of CutMix for a batch"),
        ("mixup", 0.1, "probability of mixup for a batch"),
        ("erase", 0.1, "probability of random erasing for an image"),
        ("smoothing", 0.1, "label smoothing"),
        ("drop-path", 0.0, "stochastic depth of the last block; rises linearly from 0"),
        ("distil", 0.8, "share of the teacher in the loss"),
        ("temperature", 2.0, "softens teacher and student in the loss"),
        ("kept-tokens", 1.0, "share of the patch tokens that is kept"),
        ("kept-until", 0.7, "share of the run for which tokens are dropped"),
    ):
        parser.add_argument(f"--{name}", type=float, default=value, help=text)
    return parser.parse_args()


def make_optimizers(model: ViTForImageClassification, args: argparse.Namespace) -> list[torch.optim.Optimizer]:
    def in_block(name: str) -> bool:
        return ".layers." in name

    named = list(model.named_parameters())
    matrices = [p for n, p in named if p.ndim == 2 and in_block(n)]
    head = [p for n, p in named if p.ndim == 2 and not in_block(n)]
    others = [p for n, p in named if p.ndim != 2]
    groups = [{"params": head + (matrices if args.adamw else []), "weight_decay": args.weight_decay}, {"params": others, "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, args.beta2), fused=True)
    return [adamw] if args.adamw else [adamw, Muon(matrices, args.lr, args.weight_decay)]


def learning_rate(progress: float, peak: float, warmup: float) -> float:
    """Linear warm-up, then cosine to zero; `progress` is the share of the run that is done (0..1)."""
    if progress < warmup:
        return peak * max(progress, 1e-4) / warmup
    return peak * 0.5 * (1.0 + math.cos(math.pi * min(1.0, (progress - warmup) / (1.0 - warmup))))


@torch.no_grad()
def average(into: nn.Module, model: nn.Module, decay: float) -> None:
    """Exponential moving average of the weights, parameter by parameter."""
    torch._foreach_lerp_(list(into.parameters()), list(model.parameters()), 1.0 - decay)


@dataclass
class State:
    """All that a run needs to go on: counters, the table for training.csv, and the best averaged weights so far."""

    epoch: int
    step: int
    minutes: float
    rows: list[dict[str, str]]
    best_accuracy: float
    best_weights: dict[str, Tensor]


class Stopwatch:
    """Minutes at work. A run that is suspended for a while isn't charged for it."""

    def __init__(self, minutes: float) -> None:
        self.minutes, self._last = minutes, time.monotonic()

    def tick(self, longest_s: float = 300.0) -> None:
        now = time.monotonic()
        self.minutes += min(now - self._last, longest_s) / 60.0
        self._last = now


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


def add_up(gradients: list[Tensor], *numbers: float) -> list[float]:
    """Replace gradients by their sum over all processes, in one exchange; answers the sums of `numbers`."""
    flat = torch.cat([g.flatten() for g in gradients] + [torch.tensor(numbers)])
    if distributed.is_initialized():
        distributed.all_reduce(flat)
    *parts, rest = flat.split([g.numel() for g in gradients] + [len(numbers)])
    if gradients:
        torch._foreach_copy_(gradients, [part.view_as(g) for part, g in zip(parts, gradients, strict=True)])
    return rest.tolist()


def train(args: argparse.Namespace) -> None:
    args.work.mkdir(parents=True, exist_ok=True)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.processes)
    held_out, training = hold_out(read_split(args.data / "train.zip", args.work / "train.npz"), args.validation, args.seed)
    if args.distil:
        train_teacher(training, held_out, args.teacher_width, args.teacher_epochs, args.work / "teacher.pt")
    (args.work / "rendezvous").unlink(missing_ok=True)
    multiprocessing.spawn(train_student, (args,), args.processes)

    model = build_student(args.patch, args.hidden, args.layers, args.heads, args.mlp_ratio, 0.0)
    state = State(**torch.load(args.work / "checkpoint.pt", weights_only=True)["state"])
    model.load_state_dict(state.best_weights)
    temperature = calibrate(model, held_out)
    save_model(model, args.out)
    write_report(model, read_split(args.data / "test.zip", args.work / "test.npz"), held_out, temperature, state.minutes, args.out)


def train_student(rank: int, args: argparse.Namespace) -> None:
    """One of the processes. All draw the same order of images, take their share of each batch, and end each step with the same weights."""
    torch.set_num_threads(1)
    if args.processes > 1:
        distributed.init_process_group("gloo", init_method=f"file://{args.work.resolve()}/rendezvous", rank=rank, world_size=args.processes)
    held_out, training = hold_out(read_split(args.data / "train.zip", args.work / "train.npz"), args.validation, args.seed)
    held_out = Split(held_out.pixels[rank :: args.processes], held_out.labels[rank :: args.processes])
    teacher = train_teacher(training, held_out, args.teacher_width, 0, args.work / "teacher.pt") if args.distil else None

    torch.manual_seed(args.seed)  # the same start whether or not the teacher was at hand
    model = build_student(args.patch, args.hidden, args.layers, args.heads, args.mlp_ratio, args.drop_path, args.mimic)
    tokens = model.vit.embeddings.dropout
    patches = tokens.kept
    averaged = copy.deepcopy(model).requires_grad_(False)
    optimizers = make_optimizers(model, args)
    state = State(0, 0, 0.0, [], 0.0, {})
    checkpoint = args.work / "checkpoint.pt"
    parts = {"model": model, "averaged": averaged} | {type(optimizer).__name__: optimizer for optimizer in optimizers}
    if args.resume:
        stored = torch.load(checkpoint, weights_only=True)
        state = State(**stored["state"])
        for name, part in parts.items():
            part.load_state_dict(stored[name])

    def loss_of(inputs: Tensor, targets: Tensor, taught: Tensor | None) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(inputs).logits
        logits = logits.float()
        loss = F.cross_entropy(logits, targets, label_smoothing=args.smoothing)
        if taught is None:
            return loss
        softened = F.log_softmax(logits / args.temperature, 1)
        distance = F.kl_div(softened, F.log_softmax(taught / args.temperature, 1), reduction="batchmean", log_target=True)
        return torch.lerp(loss, distance * args.temperature**2, args.distil)

    step_loss = torch.compile(loss_of) if args.compile else loss_of
    steps = len(training) // args.batch  # the remainder is dropped, so that compiled shapes never change
    stopwatch = Stopwatch(state.minutes)

    def progress() -> float:
        return max(state.step / (steps * args.epochs), stopwatch.minutes / args.minutes)

    while progress() < 1.0:
        epoch_seed = args.seed * 10_000 + state.epoch  # by epoch, so that a resumed run draws what an unbroken one would
        torch.manual_seed(epoch_seed)
        order = torch.randperm(len(training))[: steps * args.batch]
        torch.manual_seed(epoch_seed * args.processes + rank)
        model.train()
        losses: list[float] = []
        for index in order.split(args.batch):
            tokens.kept = round(patches * args.kept_tokens) if progress() < args.kept_until else patches
            rate = learning_rate(progress(), args.lr, args.warmup)
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = rate
            batch = training.take(index[rank :: args.processes])
            images = normalise(random_operation(crop_and_flip(batch.pixels), args.operation))
            images, targets = mix(images, F.one_hot(batch.labels, len(LABELS)).float(), args.cutmix, args.mixup)
            images = erase(images, args.erase)
            loss = step_loss(images, targets, None if teacher is None else teach(teacher, images))
            (loss / args.processes).backward()
            stopwatch.tick()
            minutes = stopwatch.minutes if rank == 0 else 0.0  # one clock decides for all
            mean_loss, stopwatch.minutes = add_up([p.grad for p in model.parameters()], loss.item() / args.processes, minutes)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # table 3 of the ViT paper clips at global norm 1
            for optimizer in optimizers:
                optimizer.step()
            model.zero_grad()
            state.step += 1
            average(averaged, model, min(args.ema, (1 + state.step) / (10 + state.step)))
            losses.append(mean_loss)
            if progress() >= 1.0:
                break
        correct = (predict(averaged, held_out, autocast=True).argmax(1) == held_out.labels).float().sum()
        accuracy = add_up([], correct.item())[0] / args.validation
        if accuracy >= state.best_accuracy:
            state.best_accuracy, state.best_weights = accuracy, copy.deepcopy(averaged.state_dict())
        stopwatch.tick()
        state.epoch, state.minutes = state.epoch + 1, stopwatch.minutes
        values = (str(state.epoch), f"{state.minutes:.2f}", f"{rate:.3g}", f"{np.mean(losses):.4f}", f"{accuracy:.4f}")
        state.rows.append(dict(zip(CSV_COLUMNS, values, strict=True)))
        if rank > 0:
            continue
        save_checkpoint(checkpoint, state, **parts)
        write_csv(args.out / "training.csv", state.rows)
        print(" ".join(f"{name}={value}" for name, value in state.rows[-1].items()), flush=True)


if __name__ == "__main__":
    train(parse_args())
