"""Turn a ViT checkpoint folder into the graph that vitserve serves, and check it: model.onnx and model.json.

In:  config.json, model.safetensors, preprocessor_config.json (a plain ViTForImageClassification; labels from config.id2label).
Out: model.onnx, opset 17, weights inside, float32:
         pixels        uint8   [batch, height, width, 3]   RGB, as the decoder leaves them
         probabilities float32 [batch, classes]            softmax of the logits
         embedding     float32 [batch, hidden]             class token after the last LayerNorm
     model.json, the manifest that the server reads, with the recipe of preprocessor_config.json.

The graph is written node by node instead of traced, so that it holds the arithmetic and nothing else: no shape computation, one symbol
(batch). Four folds, all exact in algebra, checked below in numbers: rescale, mean and std go into the patch projection (it has no
padding); its bias into the positions; the class token into position 0 (so no Expand, which would need the batch size); 1/sqrt(head
size) into the query.

Checks, each of which fails the export: onnx.checker; probabilities and embedding against the PyTorch model on random pixels; every
row of a batch of 8 equal, bit by bit, to the same image alone.

    python tools/export_onnx.py models/vit-cifar10/1
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
from pathlib import Path

# Before the import: otherwise onnxruntime writes into the home directory, and calls home.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from transformers import ViTForImageClassification

TOLERANCE = 1e-5
INTERPOLATIONS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
DATA_NOTE = "CIFAR-10 states no licence and derives from the withdrawn 80 Million Tiny Images"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="checkpoint folder; model.onnx and model.json are written into it")
    parser.add_argument("--description", default="A small plain Vision Transformer that tells the ten CIFAR-10 classes apart.")
    parser.add_argument("--license", default=f"Apache-2.0 (weights); trained on CIFAR-10: {DATA_NOTE}")
    parser.add_argument("--source", default="trained from scratch by this project, no pre-trained weights")
    parser.add_argument("--trained-on", default="CIFAR-10, 45,000 of the 50,000 training images (5,000 held out for validation)")
    return parser.parse_args()


class Graph:
    """Nodes and weights in the order they are added; every method returns the name of its result."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, name: str, value: torch.Tensor | float | int | list[int]) -> str:
        """A constant: int64 for whole numbers and lists of them, float32 for everything else. A known name is shared."""
        if isinstance(value, (int, list)):
            array = np.array(value, dtype=np.int64)
        else:
            array = np.ascontiguousarray(torch.as_tensor(value).detach().to(torch.float32).numpy())
        if all(known.name != name for known in self.weights):
            self.weights.append(numpy_helper.from_array(array, name))
        return name

    def add(self, op: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def linear(self, x: str, name: str, weight: torch.Tensor, bias: torch.Tensor) -> str:
        """x [..., in] times weight [out, in] transposed, plus bias [out]."""
        product = self.add("MatMul", [x, self.weight(f"{name}.weight", weight.T)], f"{name}.product")
        return self.add("Add", [product, self.weight(f"{name}.bias", bias)], name)

    def norm(self, x: str, name: str, layer: torch.nn.LayerNorm) -> str:
        inputs = [x, self.weight(f"{name}.weight", layer.weight), self.weight(f"{name}.bias", layer.bias)]
        return self.add("LayerNormalization", inputs, name, axis=-1, epsilon=layer.eps)

    def gelu(self, x: str, name: str) -> str:
        """x * (erf(x / sqrt 2) + 1) * 0.5, in the order that onnxruntime fuses into one kernel."""
        inner = self.add("Div", [x, self.weight("sqrt2", math.sqrt(2.0))], f"{name}.scaled")
        inner = self.add("Erf", [inner], f"{name}.erf")
        inner = self.add("Add", [inner, self.weight("one", 1.0)], f"{name}.shifted")
        inner = self.add("Mul", [x, inner], f"{name}.gated")
        return self.add("Mul", [inner, self.weight("half", 0.5)], name)


def read_recipe(folder: Path) -> dict[str, object]:
    """The manifest's `preprocessing` from preprocessor_config.json; refuses what a plain ViT processor doesn't do."""
    stored = json.loads((folder / "preprocessor_config.json").read_text())
    size, expected = stored["size"], ("do_resize", "do_rescale", "do_normalize")
    if not all(stored.get(key, True) for key in expected) or stored.get("do_center_crop") or set(size) != {"height", "width"}:
        raise SystemExit("preprocessor_config.json: only resize to height x width, rescale and normalise are supported here")
    return {
        "resize": {"mode": "squash", "height": size["height"], "width": size["width"]},
        "interpolation": INTERPOLATIONS[stored["resample"]],
        "crop": None,
        "rescale": stored["rescale_factor"],
        "mean": stored["image_mean"],
        "std": stored["image_std"],
        "normalizedInGraph": True,
    }


def fold_normalisation(model: ViTForImageClassification, recipe: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """Patch projection that takes raw bytes: weight [hidden, 3, patch, patch] and bias [hidden], in float64.

    w * (x * rescale - mean) / std summed = (w * rescale / std) * x summed + (bias - (w * mean / std) summed).
    """
    projection = model.vit.embeddings.patch_embeddings.projection
    mean, std = (torch.tensor(recipe[key], dtype=torch.float64).view(1, 3, 1, 1) for key in ("mean", "std"))
    weight = projection.weight.double()
    return weight * recipe["rescale"] / std, projection.bias.double() - (weight * mean / std).sum((1, 2, 3))


def add_embeddings(graph: Graph, model: ViTForImageClassification, recipe: dict) -> str:
    """pixels to tokens [batch, 1 + patches, hidden] with class token and positions (arXiv 2010.11929, equation 1)."""
    embeddings, hidden = model.vit.embeddings, model.config.hidden_size
    weight, bias = fold_normalisation(model, recipe)
    patch = embeddings.patch_embeddings.projection.kernel_size
    planes = graph.add("Transpose", ["pixels"], "pixels.planes", perm=[0, 3, 1, 2])
    planes = graph.add("Cast", [planes], "pixels.float", to=TensorProto.FLOAT)
    patches = graph.add("Conv", [planes, graph.weight("patches.weight", weight)], "patches", kernel_shape=patch, strides=patch)
    count = embeddings.patch_embeddings.num_patches
    rows = graph.add("Reshape", [patches, graph.weight("patches.shape", [0, hidden, count])], "patches.flat")
    rows = graph.add("Transpose", [rows], "patches.rows", perm=[0, 2, 1])
    # One row of zeros in front; the table below puts the class token there.
    tokens = graph.add("Pad", [rows, graph.weight("tokens.pads", [0, 1, 0, 0, 0, 0])], "tokens")
    table = embeddings.position_embeddings.double().clone()
    table[:, 0] += embeddings.cls_token[:, 0].double()
    table[:, 1:] += bias
    return graph.add("Add", [tokens, graph.weight("positions", table)], "embedded")


def add_attention(graph: Graph, x: str, name: str, attention: torch.nn.Module, tokens: int) -> str:
    """Multi-head self-attention (appendix A): [batch, tokens, hidden] to the same."""
    heads, size = attention.num_attention_heads, attention.head_dim
    parts = [(attention.q_proj, attention.scaling), (attention.k_proj, 1.0), (attention.v_proj, 1.0)]
    weight = torch.cat([part.weight * scale for part, scale in parts])
    bias = torch.cat([(part.bias if part.bias is not None else part.weight.new_zeros(heads * size)) * scale for part, scale in parts])
    qkv = graph.linear(x, f"{name}.qkv", weight, bias)
    qkv = graph.add("Reshape", [qkv, graph.weight("heads.shape", [0, tokens, 3 * heads, size])], f"{name}.split")
    qkv = graph.add("Transpose", [qkv], f"{name}.heads", perm=[0, 2, 1, 3])
    names = [f"{name}.query", f"{name}.key", f"{name}.value"]
    graph.nodes.append(helper.make_node("Split", [qkv, graph.weight("heads.sizes", [heads] * 3)], names, name=f"{name}.parts", axis=1))
    key = graph.add("Transpose", [names[1]], f"{name}.key_transposed", perm=[0, 1, 3, 2])
    scores = graph.add("MatMul", [names[0], key], f"{name}.scores")
    mixed = graph.add("MatMul", [graph.add("Softmax", [scores], f"{name}.weights", axis=-1), names[2]], f"{name}.mixed")
    mixed = graph.add("Transpose", [mixed], f"{name}.joined", perm=[0, 2, 1, 3])
    mixed = graph.add("Reshape", [mixed, graph.weight("tokens.shape", [0, tokens, heads * size])], f"{name}.rows")
    return graph.linear(mixed, f"{name}.output", attention.o_proj.weight, attention.o_proj.bias)


def build(model: ViTForImageClassification, recipe: dict) -> onnx.ModelProto:
    config, graph = model.config, Graph()
    if config.hidden_act != "gelu":
        raise SystemExit(f"config.json: hidden_act {config.hidden_act} is not supported, only gelu")
    x = add_embeddings(graph, model, recipe)
    tokens = model.vit.embeddings.position_embeddings.shape[1]
    for index, layer in enumerate(model.vit.layers):  # equations 2 and 3
        name = f"layer{index}"
        branch = graph.norm(x, f"{name}.norm1", layer.layernorm_before)
        x = graph.add("Add", [x, add_attention(graph, branch, f"{name}.attention", layer.attention, tokens)], f"{name}.attended")
        branch = graph.norm(x, f"{name}.norm2", layer.layernorm_after)
        branch = graph.gelu(graph.linear(branch, f"{name}.fc1", layer.mlp.fc1.weight, layer.mlp.fc1.bias), f"{name}.gelu")
        x = graph.add("Add", [x, graph.linear(branch, f"{name}.fc2", layer.mlp.fc2.weight, layer.mlp.fc2.bias)], f"{name}.result")
    # LayerNorm works row by row, so it need only see the class token (equation 4).
    first = graph.add("Gather", [x, graph.weight("first", 0)], "class_token", axis=1)
    embedding = graph.norm(first, "embedding", model.vit.layernorm)
    logits = graph.linear(embedding, "logits", model.classifier.weight, model.classifier.bias)
    graph.add("Softmax", [logits], "probabilities", axis=-1)
    height, width = (recipe["resize"][key] for key in ("height", "width"))
    value = helper.make_tensor_value_info
    proto = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "vit",
            [value("pixels", TensorProto.UINT8, ["batch", height, width, 3])],
            [
                value("probabilities", TensorProto.FLOAT, ["batch", config.num_labels]),
                value("embedding", TensorProto.FLOAT, ["batch", config.hidden_size]),
            ],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
        producer_name="vitserve tools/export_onnx.py",
    )
    onnx.checker.check_model(proto, full_check=True)
    return proto


@torch.no_grad()
def reference(model: ViTForImageClassification, pixels: np.ndarray, recipe: dict) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and embedding from PyTorch, normalised the long way; pixels uint8 [b, h, w, 3]."""
    mean, std = np.float32(recipe["mean"]), np.float32(recipe["std"])
    inputs = torch.from_numpy((pixels * np.float32(recipe["rescale"]) - mean) / std).permute(0, 3, 1, 2)
    token = model.vit(inputs).last_hidden_state[:, 0]
    return model.classifier(token).softmax(-1).numpy(), token.numpy()


def check(path: Path, model: ViTForImageClassification, recipe: dict) -> dict[str, object]:
    """The figures of the export; see the top of the file for what they must be."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    shape = (recipe["resize"]["height"], recipe["resize"]["width"], 3)
    worst = {"probabilities": 0.0, "embedding": 0.0}
    for batch in (1, 2, 5):
        pixels = random.integers(0, 256, (batch, *shape), dtype=np.uint8)
        for name, got, want in zip(worst, session.run(list(worst), {"pixels": pixels}), reference(model, pixels, recipe), strict=True):
            worst[name] = max(worst[name], float(np.abs(got - want).max()))
    pixels = random.integers(0, 256, (8, *shape), dtype=np.uint8)
    together = session.run(None, {"pixels": pixels})
    alone = [session.run(None, {"pixels": pixels[i : i + 1]}) for i in range(8)]
    equal = all(np.array_equal(together[o][i], alone[i][o][0]) for o in range(2) for i in range(8))
    return {"max_difference": worst, "batch_invariant": equal}


def manifest(args: argparse.Namespace, model: ViTForImageClassification, recipe: dict, digest: str, invariant: bool) -> dict[str, object]:
    config, resize = model.config, recipe["resize"]
    return {
        "formatVersion": 1,
        "description": args.description,
        "license": args.license,
        "provenance": {
            "producer": "tools/train_vit.py, tools/export_onnx.py",
            "source": args.source,
            "trainedOn": args.trained_on,
        },
        "graph": {"file": "model.onnx", "sha256": digest},
        "input": {"name": "pixels", "layout": "NHWC", "type": "uint8", "height": resize["height"], "width": resize["width"]},
        "output": {"name": "probabilities", "kind": "probabilities", "activation": "softmax"},
        "embedding": {"name": "embedding", "size": config.hidden_size},
        "preprocessing": recipe,
        "labels": [config.id2label[index] for index in range(config.num_labels)],
        "batchInvariant": invariant,
    }


def main() -> None:
    args = parse_args()
    model, report = ViTForImageClassification.from_pretrained(args.folder, output_loading_info=True, attn_implementation="eager")
    if any(report.values()):
        raise SystemExit(f"the checkpoint doesn't fit ViTForImageClassification: {report}")
    model.eval()
    recipe = read_recipe(args.folder)
    path = args.folder / "model.onnx"
    partial = path.with_suffix(".partial")
    partial.write_bytes(build(model, recipe).SerializeToString(deterministic=True))
    figures = check(partial, model, recipe)
    print(json.dumps(figures | {"nodes": len(onnx.load(partial).graph.node), "bytes": partial.stat().st_size}, indent=1))
    if max(figures["max_difference"].values()) > TOLERANCE or not figures["batch_invariant"]:
        partial.unlink()
        raise SystemExit(f"the graph is not good enough: differences up to {TOLERANCE} and equal rows in every batch are asked for")
    partial.rename(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    text = json.dumps(manifest(args, model, recipe, digest, figures["batch_invariant"]), indent=2, ensure_ascii=False)
    (args.folder / "model.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
