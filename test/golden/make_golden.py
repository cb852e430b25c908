"""Makes the golden files of this folder: the answers of Pillow 12, torchvision and transformers.

    python test/golden/make_golden.py

Needs Pillow 12; torchvision and transformers for geometry.json only. The JSON is committed, so that
the unit tests need no Python. Everything is drawn here; no other file is read.
"""

import base64
import io
import json
import pathlib
import re
import struct
import zlib

import PIL
from PIL import Image, ImageCms, ImageOps

HERE = pathlib.Path(__file__).parent
assert PIL.__version__.startswith("12."), f"Pillow 12 is the reference, this is {PIL.__version__}"


def text(data):
    return base64.b64encode(data).decode("ascii")


def write(name, cases):
    document = {"madeWith": f"Pillow {PIL.__version__}", "cases": cases}
    (HERE / name).write_text(json.dumps(document, indent=2) + "\n")
    print(f"{name}: {len(cases)} cases")


def noise(count, seed=1):
    """The same bytes as noise() in test/unit/workers/decode/drawing.ts."""
    out = bytearray()
    for _ in range(count):
        seed = (seed * 1664525 + 1013904223) & 0xFFFFFFFF
        out.append(seed >> 24)
    return bytes(out)


def drawing(width, height, channels=3):
    """A smooth picture with edges, as codecs expect it, and different in every corner."""
    out = bytearray()
    for y in range(height):
        for x in range(width):
            for c in range(channels):
                out.append((x * 19 * (c + 1) + y * 23 * (3 - c % 3) + (90 if (x > 5) != (y > 3) else 0)) & 0xFF)
    return bytes(out)


# ---- resampling

FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
SIZES = (
    ((17, 13), (8, 8)),
    ((33, 47), (12, 9)),
    ((5, 4), (11, 9)),
    ((1, 1), (5, 3)),
    ((1, 9), (4, 3)),
    ((9, 1), (3, 4)),
    ((300, 2), (4, 5)),
    ((2, 300), (5, 4)),
    # Just above and below a height of 100 times the width, where Pillow swaps the passes.
    ((3, 300), (4, 5)),
    ((2, 201), (5, 4)),
    # Nearest steps by repeated addition, which shows here.
    ((14, 4), (5, 6)),
    ((10, 12), (10, 5)),
    ((12, 10), (5, 10)),
    ((7, 6), (7, 6)),
)


def resampling():
    for (width, height), (to_width, to_height) in SIZES:
        image = Image.frombytes("RGB", (width, height), noise(width * height * 3))
        for name in FILTERS:
            resized = image.resize((to_width, to_height), Image.Resampling[name.upper()])
            yield {
                "interpolation": name,
                "width": width,
                "height": height,
                "resizedWidth": to_width,
                "resizedHeight": to_height,
                "pixels": text(resized.tobytes()),
            }


# ---- decoding

W, H = 12, 10


def encoded(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png16(channels, colour_type):
    """A 16-bit PNG, which Pillow writes for grey only."""
    values = [(v * 257 + 77 * i) & 0xFFFF for i, v in enumerate(drawing(W, H, channels))]
    row = W * channels
    raw = b"".join(b"\0" + struct.pack(f">{row}H", *values[y * row : (y + 1) * row]) for y in range(H))
    header = struct.pack(">IIBBBBB", W, H, 16, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def swapped_profile():
    """An sRGB profile with red and blue exchanged, so that a decoder that applies it is noticed."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    table = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}
    out = bytearray(profile)
    # The date of its creation, which would make every run different.
    out[24:36] = bytes(12)
    for at in range(132, 132 + 12 * struct.unpack(">I", profile[128:132])[0], 12):
        out[at : at + 4] = table.get(profile[at : at + 4], profile[at : at + 4])
    return bytes(out)


def orientation(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def without_segment(jpeg, marker):
    """The JPEG without its first segment of this marker."""
    at = jpeg.index(bytes([0xFF, marker]))
    return jpeg[:at] + jpeg[at + 2 + struct.unpack(">H", jpeg[at + 2 : at + 4])[0] :]


def with_damaged_restarts(jpeg):
    """The JPEG with all segments between restart markers damaged: libjpeg warns of each, goes on."""
    scan = jpeg.index(b"\xff\xda") + 2
    segments = re.split(b"(\xff[\xd0-\xd7])", jpeg[scan:])
    # Segments and markers alternate. One is too long, the next too short; the last ends the file.
    for at in range(0, len(segments) - 2, 2):
        segments[at] = segments[at] + b"\x55\x55" if at % 4 else segments[at][:-1]
    return jpeg[:scan] + b"".join(segments)


def flip_checksum(png, name):
    at = png.index(name)
    end = at + 4 + struct.unpack(">I", png[at - 4 : at])[0]
    return png[:end] + bytes([png[end] ^ 1]) + png[end + 1 :]


def files():
    rgb = Image.frombytes("RGB", (W, H), drawing(W, H))
    rgba = Image.frombytes("RGBA", (W, H), drawing(W, H, 4))
    grey = Image.frombytes("L", (W, H), drawing(W, H, 1))
    grey_alpha = Image.frombytes("LA", (W, H), drawing(W, H, 2))
    cmyk = Image.frombytes("CMYK", (W, H), drawing(W, H, 4))
    palette = rgb.quantize(16)

    yield "jpeg", encoded(rgb, "JPEG")
    yield "jpeg 4:4:4", encoded(rgb, "JPEG", subsampling=0, quality=95)
    yield "jpeg progressive", encoded(rgb, "JPEG", progressive=True)
    yield "jpeg restart markers", encoded(rgb, "JPEG", restart_marker_blocks=1)
    tall = Image.frombytes("L", (8, 8 * 120), drawing(8, 8 * 120, 1))
    yield "jpeg with 120 damaged restart segments", with_damaged_restarts(encoded(tall, "JPEG", restart_marker_blocks=1))
    yield "jpeg grey", encoded(grey, "JPEG")
    yield "jpeg cmyk", encoded(cmyk, "JPEG")
    yield "jpeg cmyk without Adobe marker", without_segment(encoded(cmyk, "JPEG"), 0xEE)
    yield "jpeg with an ICC profile", encoded(rgb, "JPEG", icc_profile=swapped_profile())
    yield "png with an ICC profile", encoded(rgb, "PNG", icc_profile=swapped_profile())
    for value in range(1, 10):
        yield f"jpeg orientation {value}", encoded(rgb, "JPEG", exif=orientation(value))
    yield "png orientation 6", encoded(rgb, "PNG", exif=orientation(6))
    yield "webp orientation 8", encoded(rgb, "WEBP", exif=orientation(8))
    yield "jpeg cmyk orientation 5", encoded(cmyk, "JPEG", exif=orientation(5))
    yield "png", encoded(rgb, "PNG")
    yield "png alpha", encoded(rgba, "PNG")
    yield "png grey", encoded(grey, "PNG")
    yield "png grey alpha", encoded(grey_alpha, "PNG")
    yield "png 1 bit", encoded(grey.convert("1"), "PNG")
    yield "png grey, one transparent value", encoded(grey, "PNG", transparency=90)
    yield "png colour, one transparent value", encoded(rgb, "PNG", transparency=(0, 0, 0))
    yield "png palette", encoded(palette, "PNG")
    yield "png palette 2 bit", encoded(rgb.quantize(4), "PNG", bits=2)
    yield "png palette, transparent", encoded(palette, "PNG", transparency=bytes(range(0, 160, 10)))
    yield "png 16 bit grey", png16(1, 0)
    yield "png 16 bit colour", png16(3, 2)
    yield "png 16 bit grey alpha", png16(2, 4)
    yield "png 16 bit alpha", png16(4, 6)
    yield "webp", encoded(rgb, "WEBP")
    yield "webp lossless", encoded(rgb, "WEBP", lossless=True)
    yield "webp alpha", encoded(rgba, "WEBP", lossless=True, exact=True)
    second = Image.new("RGB", (W, H), "red")
    yield "webp animated", encoded(rgb, "WEBP", save_all=True, append_images=[second], lossless=True)
    yield "png animated", encoded(rgb, "PNG", save_all=True, append_images=[second])
    yield "jpeg with bytes behind it", encoded(rgb, "JPEG") + b"more"
    yield "jpeg truncated", encoded(rgb, "JPEG", quality=95)[:-40]
    yield "png truncated", encoded(rgb, "PNG")[:-60]
    yield "webp truncated", encoded(rgb, "WEBP", lossless=True)[:-30]
    yield "png, wrong palette checksum", flip_checksum(encoded(palette, "PNG"), b"PLTE")
    yield "png, wrong header checksum", flip_checksum(encoded(rgb, "PNG"), b"IHDR")
    yield "png, wrong data checksum", flip_checksum(encoded(rgb, "PNG"), b"IDAT")


def decoding():
    for name, data in files():
        case = {"name": name, "file": text(data)}
        try:
            image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
            case |= {"width": image.width, "height": image.height, "pixels": text(image.tobytes())}
        except (OSError, SyntaxError) as error:
            case |= {"refused": type(error).__name__}
        yield case


# ---- geometry

PICTURES = ((500, 375), (375, 500), (333, 500), (257, 256), (256, 257), (224, 224), (100, 90), (31, 77), (3, 2), (1, 1))
CROPS = ((224, 224), (225, 223), (64, 100), (7, 6), (1, 1))
SHORTEST = (256, 248, 232, 97)


def marked(width, height):
    """A picture whose pixels say where they are, both from 1."""
    import numpy

    out = numpy.zeros((height, width, 3), numpy.uint16)
    out[..., 0] = numpy.arange(1, width + 1)[None, :]
    out[..., 1] = numpy.arange(1, height + 1)[:, None]
    return out


def offsets(cropped):
    """Where the crop's corner lay in a marked picture."""
    import numpy

    top, left = (int(v[0]) for v in numpy.nonzero(cropped[..., 0]))
    return int(cropped[top, left, 0]) - 1 - left, int(cropped[top, left, 1]) - 1 - top


def geometry():
    import torch
    from torchvision.transforms import functional
    from transformers.image_transforms import center_crop, get_resize_output_image_size
    from transformers.image_utils import ChannelDimension

    last = ChannelDimension.LAST
    for width, height in PICTURES:
        for size in SHORTEST:
            to_height, to_width = functional._compute_resized_output_size((height, width), [size])
            hugging_face = get_resize_output_image_size(
                marked(width, height), size, default_to_square=False, input_data_format=last
            )
            assert tuple(hugging_face) == (to_height, to_width)
            yield {"library": "both", "width": width, "height": height, "shortestEdge": size} | {
                "resizedWidth": to_width,
                "resizedHeight": to_height,
            }
        picture = marked(width, height)
        for crop_height, crop_width in CROPS:
            case = {"width": width, "height": height, "cropWidth": crop_width, "cropHeight": crop_height}
            left, top = offsets(center_crop(picture, (crop_height, crop_width), data_format=last, input_data_format=last))
            yield {"library": "transformers"} | case | {"cropLeft": left, "cropTop": top}
            tensor = torch.from_numpy(picture.astype("int32")).permute(2, 0, 1)
            cropped = functional.center_crop(tensor, [crop_height, crop_width]).permute(1, 2, 0).numpy()
            left, top = offsets(cropped)
            yield {"library": "torchvision"} | case | {"cropLeft": left, "cropTop": top}


write("resample.json", list(resampling()))
write("decode.json", list(decoding()))
write("geometry.json", list(geometry()))
