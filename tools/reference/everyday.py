"""Accuracy of a running vitserve's default model on pictures of everyday size, as callers send them.

Enlarged: CIFAR-10 test images, each blown up by Pillow to a random width and height of 224 to 500 pixels and saved as JPEG of quality 75
to 95; the service squeezes them back to 32x32. Photos: a folder of ImageNet-style files (n01514859_hen.JPEG) of which those are asked whose
class is plainly one of the ten. PyTorch answers the same bytes beside it.

    python tools/reference/everyday.py --address 127.0.0.1:50051 --data DIR --photos PHOTOS
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from preprocess import read_images
from reference_model import ReferenceModel
from service import PROTO, Service

GOAL_POINTS = 0.1
OF_THE_TEN = {
    "bird": "hen bulbul great_grey_owl black_grouse macaw toucan black_stork European_gallinule pelican",
    "frog": "tailed_frog",
    "dog": "Japanese_spaniel Afghan_hound redbone Saluki Irish_terrier cairn Tibetan_terrier Labrador_retriever clumber groenendael "
    "Border_collie Appenzeller Eskimo_dog Newfoundland Cardigan",
    "ship": "gondola canoe",
    "automobile": "minivan",
    "truck": "tow_truck",
}
CLASS_OF = {name: label for label, names in OF_THE_TEN.items() for name in names.split()}


def enlarged(data: bytes, random: np.random.Generator) -> bytes:
    size = tuple(int(side) for side in random.integers(224, 501, 2))
    out = io.BytesIO()
    Image.open(io.BytesIO(data)).convert("RGB").resize(size, Image.Resampling.BICUBIC).save(out, "JPEG", quality=int(random.integers(75, 96)))
    return out.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", required=True, help="host:port of the service")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds test.zip")
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--model-dir", type=Path, default=Path("models/vit-cifar10/1"), help="the checkpoint that is served")
    parser.add_argument("--limit", type=int, default=10_000, help="enlarged images, spread over all classes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--proto", type=Path, default=PROTO, help="include path of the contract")
    args = parser.parse_args()

    random = np.random.default_rng(args.seed)
    files = list(read_images(args.data / "test.zip"))
    files = [files[i] for i in np.linspace(0, len(files) - 1, min(args.limit, len(files))).astype(int)]
    photos = [(file.name, file.read_bytes()) for file in sorted(args.photos.iterdir()) if file.stem.partition("_")[2] in CLASS_OF]
    sets = {
        "enlarged": ([name.split("/")[-2] for name, _ in files], [enlarged(data, random) for _, data in files]),
        "photos": ([CLASS_OF[Path(name).stem.partition("_")[2]] for name, _ in photos], [data for _, data in photos]),
    }
    service, reference = Service(args.address, args.proto), ReferenceModel(args.model_dir)
    summary, passed = {}, True
    for name, (labels, images) in sets.items():
        truth = np.array([reference.labels.index(label) for label in labels])
        served, expected = service.classify_all(images), reference.classify_all(images)
        accuracy = [100 * float((answers.argmax(1) == truth).mean()) for answers in (served, expected)]
        passed &= abs(accuracy[0] - accuracy[1]) <= GOAL_POINTS
        summary[name] = {
            "images": len(images),
            "service_percent": round(accuracy[0], 2),
            "pytorch_percent": round(accuracy[1], 2),
            "mean_score_of_the_answer": round(float(served.max(1).mean()), 3),
            "max_probability_difference": float(np.abs(served - expected).max()),
        }
    print(json.dumps(summary | {"passed": passed}, indent=1))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
