"""Golden values of position-embedding interpolation: PyTorch's own, for small grids.

Hugging Face calls interpolate without antialiasing, timm with antialias=True (through timm's own
function). Run with the Python of tools/.venv:

    tools/.venv/bin/python test/golden/make_interpolation.py test/golden/interpolation.json
"""

import json
import sys

import torch
from timm.layers import resample_abs_pos_embed

CASES = [((4, 4), (7, 7)), ((7, 7), (4, 4)), ((3, 5), (6, 4)), ((8, 8), (3, 9)), ((2, 2), (5, 5)), ((1, 1), (3, 2))]
WIDTH = 2


def main() -> None:
    torch.manual_seed(0)
    cases = []
    for (rows, columns), (new_rows, new_columns) in CASES:
        values = torch.randn(rows * columns, WIDTH).mul(100).round().div(100)
        grid = values.reshape(1, rows, columns, WIDTH).permute(0, 3, 1, 2)
        plain = torch.nn.functional.interpolate(grid, size=(new_rows, new_columns), mode="bicubic", align_corners=False)
        plain = plain.permute(0, 2, 3, 1).reshape(-1, WIDTH)
        smooth = resample_abs_pos_embed(values[None], [new_rows, new_columns], [rows, columns], num_prefix_tokens=0)[0]
        cases.append({
            "from": [rows, columns],
            "to": [new_rows, new_columns],
            "width": WIDTH,
            "values": [round(value, 2) for value in values.flatten().tolist()],
            "bicubic": [round(value, 7) for value in plain.flatten().tolist()],
            "bicubic-antialias": [round(value, 7) for value in smooth.flatten().tolist()],
        })
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        file.write('{"cases": [\n' + ",\n".join(json.dumps(case) for case in cases) + "\n]}\n")


main()
