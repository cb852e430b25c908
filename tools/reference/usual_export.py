"""A ViT as int8 the way a Python program comes by one: timm, torch.onnx.export, onnxruntime's own dynamic quantization.

The graph that `limit.py` runs as the reference of the benchmark `limits`. Weights are random: it is there for its cost. Weights become int8 by
channel, in MatMul and Gemm alone: the quantizer would also make ConvInteger of the patch embedding, which is slower by a tenth.

    python tools/reference/usual_export.py --variant Ti/16 --out model.onnx [--reduce-range]
"""

import argparse
import logging
import os
import tempfile
import warnings
from pathlib import Path

# Before the import: otherwise onnxruntime writes into the home directory, and calls home.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import timm
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

NAMES = {"Ti/16": "vit_tiny_patch16_224", "S/16": "vit_small_patch16_224", "B/16": "vit_base_patch16_224"}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--variant", required=True, choices=NAMES)
parser.add_argument("--out", required=True, type=Path)
parser.add_argument("--reduce-range", action="store_true", help="weights of 7 bits, which no CPU overflows with")
arguments = parser.parse_args()

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)
# Attention as products and a softmax: what else an exporter would have to take apart again.
timm.layers.set_fused_attn(False)
model = timm.create_model(NAMES[arguments.variant], pretrained=False).eval()
with tempfile.TemporaryDirectory() as folder:
    exported = Path(folder) / "float32.onnx"
    torch.onnx.export(
        model,
        (torch.zeros(1, 3, 224, 224),),
        exported,
        opset_version=17,
        input_names=["pixels"],
        output_names=["logits"],
        dynamic_axes={"pixels": {0: "batch"}, "logits": {0: "batch"}},
        dynamo=False,
    )
    quantize_dynamic(
        exported,
        arguments.out,
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        reduce_range=arguments.reduce_range,
        weight_type=QuantType.QInt8,
    )
