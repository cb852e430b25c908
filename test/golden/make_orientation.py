"""Writes orientation.json: Pillow 12's orientation of each file of orientation-files.ts.

1 to 8 as in EXIF, found by comparing the result of `ImageOps.exif_transpose` with the picture turned
each way; null if Pillow rejects the file. Files: test/support/orientation-files.ts. After
`npm run build:test`:

    tools/.venv/bin/python test/golden/make_orientation.py
"""

import base64
import io
import json
import pathlib
import subprocess
import warnings

import PIL
from PIL import Image, ImageOps

HERE = pathlib.Path(__file__).parent
assert PIL.__version__.startswith("12."), f"Pillow 12 is the reference, this is {PIL.__version__}"
warnings.simplefilter("ignore")

PRINT_FILES = """
import { orientationFiles } from './dist-test/support/orientation-files.js';
for (const { name, bytes } of await orientationFiles())
  console.log(JSON.stringify({ name, file: bytes.toString('base64') }));
"""

TURNS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def key(image):
    return image.size, image.tobytes()


def orientation(file):
    try:
        stored = Image.open(io.BytesIO(file)).convert("RGB")
        shown = key(ImageOps.exif_transpose(Image.open(io.BytesIO(file))).convert("RGB"))
    except Exception:
        return None
    turned = (value for value, turn in TURNS.items() if key(stored if turn is None else stored.transpose(turn)) == shown)
    return next(turned)


command = ["node", "--input-type=module", "-e", PRINT_FILES]
listed = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=HERE.parent.parent).stdout.splitlines()
cases = [(entry["name"], orientation(base64.b64decode(entry["file"]))) for entry in map(json.loads, listed)]
assert len(dict(cases)) == len(cases), "two files have one name"
rows = ",\n".join(f'    {{ "name": {json.dumps(name)}, "orientation": {json.dumps(value)} }}' for name, value in cases)
document = f'{{\n  "madeWith": "Pillow {PIL.__version__}",\n  "cases": [\n{rows}\n  ]\n}}\n'
(HERE / "orientation.json").write_text(document)
print(f"orientation.json: {len(cases)} cases")
