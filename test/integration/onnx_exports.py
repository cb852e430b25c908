"""Real exports with random weights, and PyTorch's answers: python onnx_exports.py FOLDER.

Prints one line of JSON, a list of cases.

The exports by torch.export need the package onnxscript and are left out without it.
"""

import importlib.util
import json
import sys
import warnings
from pathlib import Path

import numpy
import timm
import torch
import transformers

DYNAMO = importlib.util.find_spec("onnxscript") is not None
warnings.filterwarnings("ignore")
folder = Path(sys.argv[1])
torch.manual_seed(1)
cases = []


def logits_of(module, values):
    result = module(values)
    return result if isinstance(result, torch.Tensor) else result.logits


class Logits(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, pixel_values):
        return logits_of(self.inner, pixel_values)


def export(name, module, embed, size, mean, std, dynamo, batch):
    if dynamo and not DYNAMO:
        return
    pixels = numpy.random.default_rng(3).integers(0, 256, (3, size, size, 3), dtype=numpy.uint8)
    values = (pixels.astype(numpy.float64) / 255 - mean) / std
    values = torch.from_numpy(values.transpose(0, 3, 1, 2).astype(numpy.float32))
    options = {"input_names": ["pixel_values"], "output_names": ["logits"], "dynamo": dynamo}
    if batch is None and dynamo:
        options["dynamic_shapes"] = {"pixel_values": {0: torch.export.Dim("batch_size")}}
    elif batch is None:
        options["dynamic_axes"] = {"pixel_values": {0: "batch_size"}, "logits": {0: "batch_size"}}
    if dynamo:
        options["verbose"] = False
    else:
        options["opset_version"] = 17
    sample = values[: batch or 2]
    with torch.inference_mode():
        torch.onnx.export(Logits(module).eval(), (sample,), str(folder / f"{name}.onnx"), **options)
        logits_of(module, values).numpy().astype("<f4").tofile(folder / f"{name}.logits")
        embed(values).numpy().astype("<f4").tofile(folder / f"{name}.embedding")
    pixels.tofile(folder / f"{name}.pixels")
    cases.append({"name": name, "size": size, "mean": mean, "std": std, "fixed": batch is not None})


config = transformers.ViTConfig(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=32, patch_size=8, num_labels=7
)
half = [0.5, 0.5, 0.5]
imagenet = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
for attention in ("eager", "sdpa"):
    config._attn_implementation = attention
    vit = transformers.ViTForImageClassification(config).eval()
    base = vit.vit
    embed = lambda values, base=base: base(values).last_hidden_state[:, 0]
    export(f"hf-{attention}-torchscript", vit, embed, 32, half, half, False, None)
    export(f"hf-{attention}-torchscript-fixed", vit, embed, 32, half, half, False, 1)
export("hf-dynamo", vit, embed, 32, half, half, True, None)
export("hf-dynamo-fixed", vit, embed, 32, half, half, True, 1)
for fused in (False, True):
    timm.layers.set_fused_attn(fused)
    kind = "fused" if fused else "plain"
    tiny = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2, num_classes=9).eval()
    torch.nn.init.normal_(tiny.head.weight, std=0.1)
    embed = lambda values, tiny=tiny: tiny.forward_head(tiny.forward_features(values), pre_logits=True)
    export(f"timm-{kind}-torchscript", tiny, embed, 64, *imagenet, False, None)
    export(f"timm-{kind}-torchscript-fixed", tiny, embed, 64, *imagenet, False, 1)
export("timm-dynamo", tiny, embed, 64, *imagenet, True, None)
export("timm-dynamo-fixed", tiny, embed, 64, *imagenet, True, 1)
print(json.dumps(cases))
