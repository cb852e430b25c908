"""Accuracy of a running vitserve on the CIFAR-10 test images, beside PyTorch on the same weights.

The service gets the JPEG files as they are. Goal: the two accuracies differ by no more than 0.1 points.

    python tools/reference/accuracy.py --address 127.0.0.1:50051 --data DIR        DIR holds test.zip (test/<class>/NNNN.jpg)
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from preprocess import read_images
from reference_model import ReferenceModel
from service import PROTO, Service

GOAL_POINTS = 0.1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", required=True, help="host:port of the service")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds test.zip")
    parser.add_argument("--model-dir", type=Path, default=Path("models/vit-cifar10/1"), help="the checkpoint that is served")
    parser.add_argument("--limit", type=int, help="only so many images, spread over all classes")
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--proto", type=Path, default=PROTO, help="include path of the contract")
    args = parser.parse_args()

    files = list(read_images(args.data / "test.zip"))
    if args.limit:
        files = [files[i] for i in np.linspace(0, len(files) - 1, min(args.limit, len(files))).astype(int)]
    images = [data for _, data in files]
    reference = ReferenceModel(args.model_dir)
    truth = np.array([reference.labels.index(name.split("/")[-2]) for name, _ in files])

    service = Service(args.address, args.proto, args.concurrency)
    if service.labels() != reference.labels:
        raise SystemExit(f"the service's labels are not the checkpoint's: {service.labels()}")
    started = time.monotonic()
    served = service.classify_all(images)
    seconds = time.monotonic() - started
    expected = reference.classify_all(images)

    accuracy = {"service": (served.argmax(1) == truth).mean(), "pytorch": (expected.argmax(1) == truth).mean()}
    points = 100 * abs(accuracy["service"] - accuracy["pytorch"])
    summary = {
        "images": len(images),
        "accuracy_percent": {name: round(100 * float(value), 3) for name, value in accuracy.items()},
        "difference_points": round(float(points), 3),
        "goal_points": GOAL_POINTS,
        "top_1_agreement_percent": round(100 * float((served.argmax(1) == expected.argmax(1)).mean()), 3),
        "max_probability_difference": float(np.abs(served - expected).max()),
        "refused_and_repeated": service.refusals,
        "images_per_second": round(len(images) / seconds, 1),
        "passed": bool(points <= GOAL_POINTS),
    }
    print(json.dumps(summary, indent=1))
    return 0 if summary["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
