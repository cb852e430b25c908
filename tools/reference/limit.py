"""What a Python program without any server makes of photos: Pillow, numpy and onnxruntime in one loop.

The reference limit of the benchmark `limits`, which starts several of these at a time. One thread, one image at a time, files
in memory: decode, bilinear resize, normalise where the graph takes floats, run, the five best classes.

    python tools/reference/limit.py --graph model.onnx --photos FOLDER [--side 224] [--quant-precision 0]

Prints a line of JSON with versions when it is ready. Then it answers every line {"seconds": 4} on standard input with
{"images": ..., "seconds": ..., "cpuMs": ...}.
"""

import argparse
import io
import json
import os
import sys
import time
from pathlib import Path

# Before the import: otherwise onnxruntime writes into the home directory, and calls home.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime
import PIL
from PIL import Image

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--graph", required=True)
parser.add_argument("--photos", required=True, type=Path)
parser.add_argument("--side", type=int, default=224)
parser.add_argument("--quant-precision", default="0", help="session.x64quantprecision, as the server sets it")
arguments = parser.parse_args()

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
options.log_severity_level = 3
options.add_session_config_entry("session.x64quantprecision", arguments.quant_precision)
session = onnxruntime.InferenceSession(arguments.graph, options, providers=["CPUExecutionProvider"])
graph_input = session.get_inputs()[0]
takes_floats = graph_input.type == "tensor(float)"
channels_first = graph_input.shape[1] == 3
output = session.get_outputs()[0].name
names = sorted(path for path in arguments.photos.iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))
photos = [path.read_bytes() for path in names]


def classify(photo: bytes) -> np.ndarray:
    """The five best classes of a photo, best first."""
    image = Image.open(io.BytesIO(photo)).convert("RGB").resize((arguments.side, arguments.side), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    if takes_floats:
        pixels = (pixels.astype(np.float32) * np.float32(1 / 255) - np.float32(0.5)) / np.float32(0.5)
        if channels_first:
            pixels = pixels.transpose(2, 0, 1)
    (scores,) = session.run([output], {graph_input.name: pixels[None]})
    return np.argsort(scores[0])[:-6:-1]


classify(photos[0])
print(json.dumps({"onnxruntime": onnxruntime.__version__, "pillow": PIL.__version__}), flush=True)
at = 0
for line in sys.stdin:
    seconds = json.loads(line)["seconds"]
    cpu, begin, images = time.process_time(), time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        classify(photos[at % len(photos)])
        at += 1
        images += 1
    elapsed = time.perf_counter() - begin
    print(json.dumps({"images": images, "seconds": elapsed, "cpuMs": (time.process_time() - cpu) * 1000}), flush=True)
