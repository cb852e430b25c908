"""The largest difference between the probabilities of a running vitserve and of PyTorch, over real images. Goal: 1e-4.

    python tools/reference/probabilities.py --address 127.0.0.1:50051 --images DIR|ZIP --count 200
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from preprocess import read_images
from reference_model import ReferenceModel
from service import PROTO, Service

GOAL = 1e-4


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", required=True, help="host:port of the service")
    parser.add_argument("--images", type=Path, required=True, help="folder or zip archive of JPEG, PNG and WebP files")
    parser.add_argument("--count", type=int, default=200, help="how many of them, spread evenly; fewer where there are fewer")
    parser.add_argument("--model-dir", type=Path, default=Path("models/vit-cifar10/1"), help="the checkpoint that is served")
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--proto", type=Path, default=PROTO, help="include path of the contract")
    args = parser.parse_args()

    files = list(read_images(args.images))
    if not files:
        raise SystemExit(f"no images in {args.images}")
    files = [files[i] for i in np.linspace(0, len(files) - 1, min(args.count, len(files))).astype(int)]
    images = [data for _, data in files]
    service = Service(args.address, args.proto, args.concurrency)
    served = service.classify_all(images)
    expected = ReferenceModel(args.model_dir).classify_all(images)
    if served.shape != expected.shape:
        raise SystemExit(f"the service has {served.shape[1]} classes, the checkpoint {expected.shape[1]}")

    difference = np.abs(served - expected).max(axis=1)
    worst = int(difference.argmax())
    summary = {
        "images": len(images),
        "classes": expected.shape[1],
        "max_difference": float(difference[worst]),
        "worst_image": files[worst][0],
        "median_difference": float(np.median(difference)),
        "goal": GOAL,
        "top_1_agreement_percent": round(100 * float((served.argmax(1) == expected.argmax(1)).mean()), 3),
        "refused_and_repeated": service.refusals,
        "passed": bool(difference[worst] <= GOAL),
    }
    print(json.dumps(summary, indent=1))
    return 0 if summary["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
