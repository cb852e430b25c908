"""The same weights in PyTorch, fed as transformers feeds them: the references' second opinion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from preprocess import decode
from transformers import ViTForImageClassification, ViTImageProcessorPil


class ReferenceModel:
    """Checkpoint folder to probabilities: Pillow decode, transformers' Pillow processor, float32 on the CPU."""

    def __init__(self, folder: Path) -> None:
        self.model, report = ViTForImageClassification.from_pretrained(folder, output_loading_info=True)
        if any(report.values()):
            raise SystemExit(f"the checkpoint doesn't fit ViTForImageClassification: {report}")
        self.model.eval()
        self.processor = ViTImageProcessorPil.from_pretrained(folder)
        self.labels = [self.model.config.id2label[index] for index in range(self.model.config.num_labels)]

    @torch.no_grad()
    def classify_all(self, images: Sequence[bytes], batch: int = 100) -> np.ndarray:
        """Encoded images to float32 [images, classes]."""
        rows = []
        for start in range(0, len(images), batch):
            inputs = self.processor([decode(data) for data in images[start : start + batch]], return_tensors="pt")
            rows.append(self.model(**inputs).logits.softmax(-1).numpy())
        return np.concatenate(rows)
