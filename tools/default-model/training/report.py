"""What the model is worth: accuracy, confusion, calibration, as report.json and two pictures beside the weights."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import torch  # noqa: E402
from matplotlib import pyplot  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from .data import LABELS, Split, normalise  # noqa: E402

BINS = 15


@torch.no_grad()
def predict(model: nn.Module, split: Split, autocast: bool = False) -> Tensor:
    """Logits float32 [n, 10], in evaluation mode."""
    model.eval()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        return torch.cat([model(normalise(pixels)).logits.float() for pixels in split.pixels.split(500)])


@torch.no_grad()
def calibrate(model: nn.Module, held_out: Split) -> float:
    """Fit one temperature (arXiv 1706.04599, section 4.2) to images that training never saw and fold it into the head.

    Dividing the logits by it changes no ranking, only how sure the answers sound. Golden-section search in log T, where the loss has one minimum.
    """
    logits = predict(model, held_out)

    def loss(log_temperature: float) -> float:
        return F.cross_entropy(logits / torch.tensor(log_temperature).exp(), held_out.labels).item()

    low, high, ratio = -2.5, 2.5, (5**0.5 - 1) / 2
    for _ in range(40):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    temperature = torch.tensor((low + high) / 2).exp().item()
    model.classifier.weight /= temperature
    model.classifier.bias /= temperature
    return temperature


def reliability(probabilities: Tensor, labels: Tensor) -> tuple[float, list[tuple[float, float, int]]]:
    """Expected calibration error (arXiv 1706.04599, equation 3, 15 equal bins) and confidence, accuracy, count of each bin."""
    confidence, answers = probabilities.max(1)
    right = (answers == labels).float()
    index = (confidence * BINS).long().clamp(max=BINS - 1)
    bins, error = [], 0.0
    for number in range(BINS):
        inside = index == number
        if count := int(inside.sum()):
            mean_confidence, accuracy = confidence[inside].mean().item(), right[inside].mean().item()
            bins.append((mean_confidence, accuracy, count))
            error += count / len(labels) * abs(mean_confidence - accuracy)
    return error, bins


def summary(logits: Tensor, labels: Tensor) -> dict[str, object]:
    error, bins = reliability(logits.softmax(1), labels)
    answers = logits.argmax(1)
    confusion = torch.zeros(len(LABELS), len(LABELS), dtype=torch.long)
    confusion.index_put_((labels, answers), torch.ones_like(labels), accumulate=True)
    return {
        "images": len(labels),
        "accuracy": round((answers == labels).float().mean().item(), 4),
        "accuracyByClass": {label: round((confusion[i, i] / confusion[i].sum()).item(), 4) for i, label in enumerate(LABELS)},
        "negativeLogLikelihood": round(F.cross_entropy(logits, labels).item(), 4),
        "expectedCalibrationError": round(error, 4),
        "reliability": [{"confidence": round(c, 4), "accuracy": round(a, 4), "images": n} for c, a, n in bins],
        "confusion": confusion.tolist(),
    }


def write_report(model: nn.Module, test: Split, held_out: Split, temperature: float, minutes: float, out: Path) -> None:
    logits = predict(model, test)
    uncalibrated, _ = reliability((logits * temperature).softmax(1), test.labels)
    report = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "minutes": round(minutes, 1),
        "temperature": round(temperature, 4),
        "heldOutAccuracy": round((predict(model, held_out).argmax(1) == held_out.labels).float().mean().item(), 4),
        "test": summary(logits, test.labels) | {"expectedCalibrationErrorBefore": round(uncalibrated, 4)},
    }
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report), flush=True)
    draw_reliability(report["test"]["reliability"], out / "reliability.png")
    draw_training(out / "training.csv", out / "training.png")


def _save(figure: pyplot.Figure, file: Path) -> None:
    figure.savefig(file, dpi=90, bbox_inches="tight", metadata={"Software": None})
    pyplot.close(figure)


def draw_reliability(bins: list[dict[str, float]], file: Path) -> None:
    figure, axes = pyplot.subplots(figsize=(4.5, 4))
    total = sum(b["images"] for b in bins)
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    axes.bar([b["confidence"] for b in bins], [b["images"] / total for b in bins], width=0.03, color="0.85", label="share of the images")
    axes.plot([b["confidence"] for b in bins], [b["accuracy"] for b in bins], marker="o", label="share that is right")
    axes.set(xlabel="score of the first answer", xlim=(0, 1), ylim=(0, 1), title="CIFAR-10 test images")
    axes.legend(frameon=False)
    _save(figure, file)


def draw_training(table: Path, file: Path) -> None:
    with table.open() as rows:
        columns = list(csv.DictReader(rows))
    minutes = [float(row["minutes"]) for row in columns]
    figure, accuracy = pyplot.subplots(figsize=(6, 3.5))
    accuracy.plot(minutes, [100 * float(row["validation_accuracy"]) for row in columns], color="C0")
    accuracy.set(xlabel="minutes", ylabel="accuracy on held-out images, %")
    loss = accuracy.twinx()
    loss.plot(minutes, [float(row["train_loss"]) for row in columns], color="C1", linewidth=1)
    loss.set_ylabel("training loss", color="C1")
    _save(figure, file)
