"""Small ViT models with seeded random weights, exported to ONNX as people export them, and what PyTorch makes of some images.

In:  a folder of images (PNG, so that there is nothing to argue about in decoding).
Out: a folder with one folder a model, laid out as its exporter lays it out, and `reference.json`, for each model
         path           what to import: the folder or the file, relative
         flags          what `vitserve import` has to be told
         tolerance      1e-4, or 5e-3 for float16
         probabilities  [images][classes], from PyTorch in float32, the images prepared by the library's own code
     and `images`, the names in order; `skipped`, exporters that this Python lacks.

    python tools/reference/exports.py OUT IMAGES
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import timm
import torch
import torchvision
import transformers
from PIL import Image
from timm.data import create_transform
from torchvision.transforms._presets import ImageClassification

SIZE, CLASSES, HIDDEN, LAYERS, HEADS, MLP, PATCH = 64, 7, 48, 2, 3, 96, 16
LABELS = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu"]
OPSET = 17


def seeded(make: Callable[[], torch.nn.Module], gain: float = 2.0) -> torch.nn.Module:
    """A model whose answers differ from image to image: weights larger than any library initialises them with.

    `gain`: how much a product with a matrix enlarges what it is given; with 1 and more layers numbers stay where trained models have them.
    """
    torch.manual_seed(20101192)
    model = make().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, gain / parameter[0].numel() ** 0.5)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


class Tensor(torch.nn.Module):
    """A transformers model as a function of one tensor to one tensor, as optimum exports it."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.model(pixel_values=pixel_values).logits


class ChannelsLast(torch.nn.Module):
    """NHWC in, probabilities out: what models from TensorFlow look like."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.model(pixels.permute(0, 3, 1, 2)).softmax(-1)


class OneLogit(torch.nn.Module):
    """Yes or no: one logit an image, without an axis for classes."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.model(pixels)[:, 0]


def traced(model: torch.nn.Module, path: Path, axes: dict | None, names: tuple | None = None, example: torch.Tensor | None = None) -> None:
    """The TorchScript exporter."""
    given = {} if names is None else {"input_names": [names[0]], "output_names": [names[1]]}
    example = torch.zeros(1, 3, SIZE, SIZE) if example is None else example
    torch.onnx.export(model, (example,), path, opset_version=OPSET, dynamic_axes=axes, dynamo=False, **given)


def captured(model: torch.nn.Module, path: Path) -> None:
    """The exporter that is the default since PyTorch 2.9: names of its own, weights in a file of their own."""
    batch = torch.export.Dim("batch")
    example = (torch.zeros(2, 3, SIZE, SIZE),)
    torch.onnx.export(model, example, path, dynamo=True, dynamic_shapes=({0: batch},), external_data=True, verbose=False)


class Exports:
    def __init__(self, out: Path, images: Path) -> None:
        self.out = out
        self.names = sorted(path.name for path in images.iterdir())
        self.images = [Image.open(images / name).convert("RGB") for name in self.names]
        self.models: dict[str, dict[str, object]] = {}
        self.skipped: list[str] = []

    def folder(self, name: str) -> Path:
        (self.out / name).mkdir(parents=True)
        return self.out / name

    @torch.no_grad()
    def expect(self, name: str, path: str, probabilities: Callable, prepare: Callable, flags: list[str], tolerance: float = 1e-4) -> None:
        """What PyTorch answers. `prepare`: image to float tensor [3, h, w]; `probabilities`: [1, 3, h, w] to [1, classes]."""
        rows = [probabilities(prepare(image)[None])[0].tolist() for image in self.images]
        spread = np.ptp(np.array(rows), axis=0).max()
        assert spread > 0.05, f"{name}: the images hardly differ ({spread})"
        self.models[name] = {"path": f"{name}/{path}".rstrip("/"), "flags": flags, "tolerance": tolerance, "probabilities": rows}

    def labels(self, folder: Path) -> list[str]:
        (folder / "labels.txt").write_text("\n".join(LABELS) + "\n")
        return ["--labels", str(folder / "labels.txt")]


def hugging_face(exports: Exports, kind: str) -> None:
    config_class, model_class, processor_class = {
        "vit": (transformers.ViTConfig, transformers.ViTForImageClassification, transformers.ViTImageProcessorPil),
        "deit": (transformers.DeiTConfig, transformers.DeiTForImageClassification, transformers.DeiTImageProcessorPil),
    }[kind]
    sizes = {"hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "intermediate_size": MLP}
    config = config_class(image_size=SIZE, patch_size=PATCH, id2label=dict(enumerate(LABELS)), **sizes)
    size = {"height": SIZE, "width": SIZE}
    given = {"size": size} if kind == "vit" else {"size": {"height": 73, "width": 73}, "crop_size": size}
    processor = processor_class(**given)
    model = seeded(lambda: model_class(config))

    def prepare(image: Image.Image) -> torch.Tensor:
        return processor(image, return_tensors="pt")["pixel_values"][0]

    def probabilities(values: torch.Tensor) -> torch.Tensor:
        return model(pixel_values=values).logits.softmax(-1)

    def write_configs(folder: Path) -> None:
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(folder)
        processor.save_pretrained(folder)

    axes = {"pixel_values": {0: "batch_size", 1: "num_channels", 2: "height", 3: "width"}, "logits": {0: "batch_size"}}
    folder = exports.folder(f"optimum-{kind}")
    write_configs(folder)
    traced(Tensor(model), folder / "model.onnx", axes, ("pixel_values", "logits"))
    exports.expect(folder.name, "", probabilities, prepare, [])

    if kind != "vit":
        return
    folder = exports.folder("transformers-js")
    (folder / "onnx").mkdir()
    write_configs(folder)
    traced(Tensor(model), folder / "onnx/model.onnx", axes, ("pixel_values", "logits"))
    half = seeded(lambda: model_class(config)).half()
    traced(Tensor(half), folder / "onnx/model_fp16.onnx", axes, ("pixel_values", "logits"), torch.zeros(1, 3, SIZE, SIZE).half())
    exports.expect(folder.name, "", probabilities, prepare, [])
    exports.models["transformers-js-fp16"] = exports.models[folder.name] | {"flags": ["--variant", "fp16"], "tolerance": 5e-3}


def timm_models(exports: Exports) -> None:
    sizes = {"img_size": SIZE, "embed_dim": HIDDEN, "depth": LAYERS, "num_heads": HEADS, "mlp_ratio": MLP / HIDDEN, "num_classes": CLASSES}
    model = seeded(lambda: timm.create_model("vit_tiny_patch16_224", **sizes))
    data = {"input_size": [3, SIZE, SIZE], "interpolation": "bicubic", "crop_pct": 0.9, "crop_mode": "center"}
    data |= {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    prepare = create_transform(tuple(data["input_size"]), **{key: data[key] for key in ("interpolation", "crop_pct", "mean", "std")})
    probabilities = lambda values: model(values).softmax(-1)  # noqa: E731
    names = ("input0", "output0")

    folder = exports.folder("timm")
    config = {"architecture": "vit_tiny_patch16_224", "num_classes": CLASSES, "label_names": LABELS, "pretrained_cfg": data}
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    traced(model, folder / "vit.onnx", {"input0": {0: "batch"}, "output0": {0: "batch"}}, names)
    exports.expect(folder.name, "", probabilities, prepare, [])

    folder = exports.folder("one-logit")
    traced(OneLogit(model), folder / "vit.onnx", {"x": {0: "batch"}, "y": {0: "batch"}}, ("x", "y"))
    (folder / "labels.json").write_text(json.dumps(["no", "yes"]))
    yes = lambda values: torch.stack([1 - model(values)[:, 0].sigmoid(), model(values)[:, 0].sigmoid()], -1)  # noqa: E731
    exports.expect(folder.name, "vit.onnx", yes, prepare, ["--labels", str(folder / "labels.json"), "--recipe", "timm"])


def torchvision_models(exports: Exports) -> None:
    sizes = {"image_size": SIZE, "patch_size": PATCH, "num_layers": LAYERS, "num_heads": HEADS, "hidden_dim": HIDDEN, "mlp_dim": MLP}
    model = seeded(lambda: torchvision.models.VisionTransformer(num_classes=CLASSES, **sizes))
    prepare = ImageClassification(crop_size=SIZE, resize_size=SIZE * 256 // 224)
    probabilities = lambda values: model(values).softmax(-1)  # noqa: E731

    def plain(name: str, export: Callable[[Path], None]) -> None:
        folder = exports.folder(name)
        try:
            export(folder / "vit.onnx")
        except ModuleNotFoundError as error:
            exports.skipped.append(f"{name}: {error}")
            return
        exports.expect(name, "vit.onnx", probabilities, prepare, [*exports.labels(folder), "--recipe", "torchvision"])

    plain("torchvision", lambda path: traced(model, path, {"input": {0: "batch"}, "logits": {0: "batch"}}, ("input", "logits")))
    plain("fixed-batch-without-names", lambda path: traced(model, path, None))
    last = torch.zeros(1, SIZE, SIZE, 3)
    axes = {"pixels": {0: "n"}, "probabilities": {0: "n"}}
    plain("channels-last", lambda path: traced(ChannelsLast(model), path, axes, ("pixels", "probabilities"), last))
    if importlib.util.find_spec("onnxscript") is None:
        exports.skipped.append("dynamo: onnxscript is not installed")
    else:
        plain("dynamo", lambda path: captured(model, path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to write; must be empty or missing")
    parser.add_argument("images", type=Path, help="folder of images")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    exports = Exports(args.out, args.images)
    hugging_face(exports, "vit")
    hugging_face(exports, "deit")
    timm_models(exports)
    torchvision_models(exports)
    result = {"images": exports.names, "models": exports.models, "skipped": exports.skipped}
    (args.out / "reference.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
