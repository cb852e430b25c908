"""The reference of pillow-parity.slow.test.ts: decodes and preprocesses images with Pillow alone.

Reads one JSON request a line, {"path": file} or {"file": base64} with "recipes": [...] (null for
decoding only), and answers one JSON line: {"pixels": [base64, one per recipe], "width", "height"} or
{"refused": why}.
"""

import base64
import io
import json
import sys
import warnings

import PIL
from PIL import Image, ImageOps

warnings.simplefilter("ignore")
Image.MAX_IMAGE_PIXELS = None


def resized(image, recipe):
    resize = recipe["resize"]
    if resize is None:
        return image
    if resize["mode"] == "squash":
        size = (resize["width"], resize["height"])
    else:
        short, long = sorted(image.size)
        longer = int(resize["size"] * long / short)
        size = (resize["size"], longer) if image.width <= image.height else (longer, resize["size"])
    return image.resize(size, Image.Resampling[recipe["interpolation"].upper()])


def cropped(image, crop):
    if crop is None:
        return image
    spare = (image.width - crop["width"], image.height - crop["height"])
    if crop["rounding"] == "floor":
        left, top = (margin // 2 for margin in spare)
    else:
        # torchvision pads a side that is too short by (crop - side) // 2 before it crops.
        left, top = (int(round(margin / 2)) if margin > 0 else -(-margin // 2) for margin in spare)
    return image.crop((left, top, left + crop["width"], top + crop["height"]))


def answer(request):
    source = request.get("path") or io.BytesIO(base64.b64decode(request["file"]))
    try:
        image = Image.open(source)
        if image.format not in ("JPEG", "MPO", "PNG", "WEBP"):
            return {"refused": f"format {image.format}"}
        image = ImageOps.exif_transpose(image).convert("RGB")
    # Pillow raises errors of all kinds for damaged files, struct.error and EOFError among them.
    except Exception as error:
        return {"refused": f"{type(error).__name__}: {error}"}
    pixels = []
    for recipe in request["recipes"]:
        result = image if recipe is None else cropped(resized(image, recipe), recipe["crop"])
        pixels.append(base64.b64encode(result.tobytes()).decode("ascii"))
    return {"pixels": pixels, "width": image.width, "height": image.height}


print(json.dumps({"version": PIL.__version__}), flush=True)
for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
