"""The golden reference for preprocessing: Pillow 12, whole numbers, no normalisation.

Decode is `ImageOps.exif_transpose(Image.open(f)).convert("RGB")`; then resize and crop by a recipe, which is the `preprocessing` object
of a manifest. The result is uint8 RGB, [height, width, 3].

    cd tools/reference
    python preprocess.py run --recipe recipes/timm.json IMAGES...        the size and sha256 of each result, as JSON
    python preprocess.py run --recipe model.json --out DIR IMAGES...     and DIR/<name>.rgb, the raw bytes
    python preprocess.py run --library timm IMAGES...                    the same by the library itself
    python preprocess.py prove IMAGES...                                 our recipes against the libraries; exit 1 on a difference

IMAGES are files, folders or zip archives. Pillow 13 is refused: it runs the vertical pass first on tall images and gives other pixels
than those the models in use were trained on.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageOps

if int(PIL.__version__.split(".")[0]) >= 13:
    raise SystemExit(f"Pillow {PIL.__version__} resizes tall images in another order than the models were trained with; use pillow<13")

RECIPES = Path(__file__).parent / "recipes"
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
INTERPOLATIONS = {mode.name.lower(): mode for mode in Image.Resampling}


def read_images(source: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of one image file, of all in a folder, or of all in a zip archive, in name order."""
    if source.suffix == ".zip":
        with zipfile.ZipFile(source) as archive:
            for name in sorted(n for n in archive.namelist() if Path(n).suffix.lower() in SUFFIXES):
                yield name, archive.read(name)
    elif source.is_dir():
        for path in sorted(p for p in source.rglob("*") if p.suffix.lower() in SUFFIXES):
            yield str(path.relative_to(source)), path.read_bytes()
    else:
        yield source.name, source.read_bytes()


def decode(data: bytes) -> Image.Image:
    return ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")


def resized_size(resize: dict, width: int, height: int) -> tuple[int, int]:
    """Width and height after the recipe's resize.

    The long edge is truncated: transformers image_transforms.get_resize_output_image_size, torchvision
    transforms.functional._compute_resized_output_size.
    """
    if resize["mode"] == "squash":
        return resize["width"], resize["height"]
    if resize["mode"] != "shortest-edge":
        raise ValueError(f"unknown resize mode {resize['mode']}")
    size = resize["size"]
    long = int(size * max(width, height) / min(width, height))
    return (size, long) if width <= height else (long, size)


def crop_offset(length: int, crop: int, rounding: str) -> int:
    """Where the crop starts on one axis; negative where that many zeros are padded in front.

    floor: transformers image_transforms.center_crop, (length - crop) // 2, and ceil(missing / 2) zeros in front: one formula.
    half-even: torchvision transforms.functional.center_crop, int(round((length - crop) / 2)); but missing // 2 zeros in front.
    """
    margin = length - crop
    if rounding == "floor":
        return margin // 2
    if rounding != "half-even":
        raise ValueError(f"unknown rounding {rounding}")
    return round(margin / 2) if margin >= 0 else -(-margin // 2)


def cut(pixels: np.ndarray, crop: dict) -> np.ndarray:
    """Centre crop of uint8 [h, w, 3], with zeros where the image is too small."""
    out = np.zeros((crop["height"], crop["width"], 3), np.uint8)
    inside, outside = [], []
    for length, wanted in zip(pixels.shape[:2], out.shape[:2], strict=True):
        start = crop_offset(length, wanted, crop["rounding"])
        first, last = max(0, start), min(length, start + wanted)
        inside.append(slice(first, last))
        outside.append(slice(first - start, last - start))
    out[tuple(outside)] = pixels[tuple(inside)]
    return out


def apply_recipe(recipe: dict, image: Image.Image) -> np.ndarray:
    """RGB image to uint8 [height, width, 3]."""
    if recipe["resize"] is not None:
        size = resized_size(recipe["resize"], *image.size)
        image = image.resize(size, INTERPOLATIONS[recipe["interpolation"]])
    pixels = np.asarray(image)
    return pixels if recipe["crop"] is None else cut(pixels, recipe["crop"])


def load_recipe(path: Path) -> dict:
    """A recipe of its own, or the `preprocessing` of a manifest."""
    stored = json.loads(path.read_text())
    return stored.get("preprocessing", stored)


# --- the same by the libraries themselves, as far as the last step before normalising


def transformers_transform(kind: str) -> Callable[[Image.Image], np.ndarray]:
    import transformers

    processor = getattr(transformers, f"{kind}ImageProcessorPil")(do_rescale=False, do_normalize=False)
    return lambda image: processor(image, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)


def timm_transform() -> Callable[[Image.Image], np.ndarray]:
    from timm.data import create_transform

    transform = create_transform((3, 224, 224), interpolation="bicubic", crop_pct=0.9, crop_mode="center", normalize=False)
    return lambda image: transform(image).numpy().transpose(1, 2, 0)


def torchvision_transform(crop: int, resize: int, interpolation: str) -> Callable[[Image.Image], np.ndarray]:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms._presets import ImageClassification

    # With mean 0 and std 1 the preset's floats are whole 255ths.
    mode = InterpolationMode(interpolation)
    transform = ImageClassification(crop_size=crop, resize_size=resize, interpolation=mode, mean=(0, 0, 0), std=(1, 1, 1))
    return lambda image: (transform(image) * 255).round().byte().numpy().transpose(1, 2, 0)


LIBRARIES: dict[str, Callable[[], Callable[[Image.Image], np.ndarray]]] = {
    "hf-vit": lambda: transformers_transform("ViT"),
    "hf-deit": lambda: transformers_transform("DeiT"),
    "timm": timm_transform,
    "torchvision": lambda: torchvision_transform(224, 256, "bilinear"),
    "torchvision-swag": lambda: torchvision_transform(384, 384, "bicubic"),
}


def run(args: argparse.Namespace) -> int:
    """Bytes or digests of every image; an image that Pillow refuses is listed with its error."""
    if args.library:
        transform = LIBRARIES[args.library]()
    else:
        recipe = load_recipe(args.recipe)
        transform = lambda image: apply_recipe(recipe, image)  # noqa: E731
    results = {}
    for source in args.images:
        for name, data in read_images(source):
            try:
                image = decode(data)
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # what Pillow refuses
                results[name] = {"error": type(error).__name__}
                continue
            pixels = np.ascontiguousarray(transform(image))
            results[name] = {"height": pixels.shape[0], "width": pixels.shape[1], "sha256": hashlib.sha256(pixels.tobytes()).hexdigest()}
            if args.out:
                target = args.out / f"{name}.rgb"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(pixels.tobytes())
    print(json.dumps(results, indent=1))
    return 0


def odd_sizes() -> Iterator[tuple[str, Image.Image]]:
    """Drawn noise in sizes that real photos seldom have: odd margins, extreme shapes, smaller than the crop."""
    random = np.random.default_rng(0)
    sizes = [(1, 1), (3, 1000), (1000, 3), (31, 33), (224, 224), (225, 224), (227, 231), (256, 257), (384, 385), (501, 375), (640, 427)]
    for width, height in sizes:
        yield f"noise {width}x{height}", Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))


def odd_crops() -> tuple[int, int]:
    """Crops larger and smaller than the image, by an odd or even margin on each axis: equal and all, of both roundings."""
    from torchvision.transforms import functional
    from transformers.image_transforms import center_crop

    equal = total = 0
    for _, image in list(odd_sizes())[3:8]:
        pixels = np.asarray(image)
        for height, width in ((1, 1), (32, 32), (224, 224), (227, 230), (229, 233), (300, 301)):
            ours = {rounding: cut(pixels, {"height": height, "width": width, "rounding": rounding}) for rounding in ("floor", "half-even")}
            equal += np.array_equal(ours["floor"], center_crop(pixels, (height, width), input_data_format="channels_last"))
            equal += np.array_equal(ours["half-even"], np.asarray(functional.center_crop(image, [height, width])))
            total += 2
    return equal, total


def prove(args: argparse.Namespace) -> int:
    """Each recipe against its library: how many images are equal to the last byte."""
    counts = {name: {"equal": 0, "images": 0, "different": []} for name in LIBRARIES}
    transforms = {name: (load_recipe(RECIPES / f"{name}.json"), make()) for name, make in LIBRARIES.items()}

    def compare(label: str, image: Image.Image) -> None:
        for name, (recipe, transform) in transforms.items():
            same = np.array_equal(apply_recipe(recipe, image), transform(image))
            counts[name]["images"] += 1
            counts[name]["equal"] += same
            if not same:
                counts[name]["different"].append(label)

    for label, image in odd_sizes():
        compare(label, image)
    for source in args.images:
        for label, data in read_images(source):
            compare(label, decode(data))
    equal, total = odd_crops()
    counts["odd crops"] = {"equal": equal, "images": total, "different": []}
    print(json.dumps({"pillow": PIL.__version__, **counts}, indent=1))
    return 0 if all(count["equal"] == count["images"] for count in counts.values()) else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("run", help="pixels or their sha256")
    choice = command.add_mutually_exclusive_group(required=True)
    choice.add_argument("--recipe", type=Path, help="JSON file: a recipe, or a manifest")
    choice.add_argument("--library", choices=list(LIBRARIES))
    command.add_argument("--out", type=Path, help="folder for the raw bytes")
    command.add_argument("images", type=Path, nargs="+")
    command.set_defaults(function=run)
    command = commands.add_parser("prove", help="our recipes against the libraries")
    command.add_argument("images", type=Path, nargs="*")
    command.set_defaults(function=prove)
    args = parser.parse_args()
    return args.function(args)


if __name__ == "__main__":
    sys.exit(main())
