"""Top-1 agreement and largest difference in probability between PyTorch and what `vitserve convert` and `import` make.

On one side the model in transformers, timm or torchvision, in float32, fed by that library's own preprocessing with Pillow. On the other
the served graph (raw bytes in, probabilities out) in onnxruntime, fed with what Pillow makes of the image by the manifest's recipe. No code
is shared between the sides. Weights are random and seeded; the classifier is scaled and centred on some of the images, so that the class
that comes first has a probability of about 0.6 and differs from image to image: with uniform probabilities, agreement would say nothing.

    npm run build
    python tools/reference/top1.py --photos FOLDER --cifar DIR/test.zip

Goals: in float32 at most 1e-4 apart and the same class first for every image; in float16 at most 5e-3 apart. Prints a table; exits with 1
when one is missed. Beside the float16 models stands what PyTorch in float16 makes of the same weights, which has no goal: it says how much of
the difference is half precision itself. Three minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Before the import: otherwise onnxruntime writes into the home directory, and calls home.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime
import timm
import torch
import torchvision
import transformers
from exports import ChannelsLast, OneLogit, Tensor, seeded, traced
from PIL import Image
from preprocess import apply_recipe, decode, read_images
from safetensors.torch import save_file
from timm.data import create_transform
from timm.models.vision_transformer import VisionTransformer
from torchvision.transforms._presets import ImageClassification

VITSERVE = Path(__file__).parents[2] / "dist/main.js"
CLASSES, BATCH, CALIBRATION, AIM = 1000, 10, 50, 0.6
LABELS = "FOLDER/labels.json"
GOALS = {"float32": 1e-4, "float16": 5e-3}
# Hidden size, layers, heads and width of the MLP: Table 1 of arXiv 2010.11929 and of arXiv 2012.12877.
VARIANTS = {"Ti": (192, 12, 3, 768), "S": (384, 12, 6, 1536), "B": (768, 12, 12, 3072)}


@dataclass
class Subject:
    """A model in PyTorch."""

    model: torch.nn.Module
    logits: Callable[[torch.Tensor], torch.Tensor]
    prepare: Callable[[Image.Image], torch.Tensor]
    heads: list[torch.nn.Linear]
    save: Callable[[Path], None]
    """Writes what lies beside the weights of such a model; `weights` writes those."""
    weights: Callable[[Path], None]
    size: int = 224


@dataclass
class Form:
    """What a model becomes, and how."""

    name: str
    command: str
    write: Callable[[Path], Path]
    """Writes what is converted or imported into a folder that is there, and says what to name on the command line."""
    flags: tuple[str, ...] = ()
    dtype: str = "float32"
    answer: Callable[[torch.Tensor], torch.Tensor] = lambda logits: logits.softmax(-1)
    module: torch.nn.Module | None = None
    """Instead of a command: PyTorch in float16, for what half precision costs these weights whoever computes it. Has no goal."""


def hugging_face(kind: str, variant: str, patch: int, size: int = 224) -> Subject:
    config_class, model_class, processor_class = {
        "vit": (transformers.ViTConfig, transformers.ViTForImageClassification, transformers.ViTImageProcessorPil),
        "deit": (transformers.DeiTConfig, transformers.DeiTForImageClassificationWithTeacher, transformers.DeiTImageProcessorPil),
    }[kind]
    hidden, layers, heads, mlp = VARIANTS[variant]
    sizes = {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads, "intermediate_size": mlp}
    model = seeded(lambda: model_class(config_class(image_size=size, patch_size=patch, num_labels=CLASSES, **sizes)), 1)
    model.config.architectures = [model_class.__name__]
    processor = processor_class(size={"height": size, "width": size}) if kind == "vit" else processor_class()

    def save(folder: Path) -> None:
        model.config.save_pretrained(folder)
        processor.save_pretrained(folder)

    return Subject(
        model,
        logits=lambda values: model(pixel_values=values).logits,
        prepare=lambda image: processor(image, return_tensors="pt")["pixel_values"][0],
        heads=[model.classifier] if kind == "vit" else [model.cls_classifier, model.distillation_classifier],
        save=save,
        weights=model.save_pretrained,
        size=size,
    )


def of_timm(name: str, make: Callable[[], torch.nn.Module], **config: object) -> Subject:
    model = seeded(make, 1)
    data = {"interpolation": "bicubic", "crop_pct": 0.9, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    pretrained = {"input_size": [3, 224, 224], "crop_mode": "center", **data}
    text = json.dumps({"architecture": name, "num_classes": CLASSES, "pretrained_cfg": pretrained, **config})

    def weights(folder: Path) -> None:
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "model.safetensors")

    return Subject(
        model,
        logits=model,
        prepare=create_transform((3, 224, 224), **data),
        heads=[model.head, model.head_dist] if hasattr(model, "head_dist") else [model.head],
        save=lambda folder: (folder / "config.json").write_text(text),
        weights=weights,
    )


def of_torchvision() -> Subject:
    hidden, layers, heads, mlp = VARIANTS["Ti"]
    sizes = {"image_size": 224, "patch_size": 16, "num_layers": layers, "num_heads": heads, "hidden_dim": hidden, "mlp_dim": mlp}
    model = seeded(lambda: torchvision.models.VisionTransformer(num_classes=CLASSES, **sizes), 1)
    prepare = ImageClassification(crop_size=224, resize_size=256)
    return Subject(model, logits=model, prepare=prepare, heads=[model.heads.head], save=lambda folder: None, weights=lambda folder: None)


def converted(name: str, subject: Subject, *flags: str, dtype: str = "float32") -> Form:
    def write(folder: Path) -> Path:
        subject.save(folder)
        subject.weights(folder)
        return folder

    return Form(name, "convert", write, flags, dtype)


def imported(name: str, subject: Subject, module: torch.nn.Module, *flags: str, free: bool = True, last: bool = False, **others) -> Form:
    """An export by TorchScript; `free`: of any batch size, `last`: channels last."""

    def write(folder: Path) -> Path:
        subject.save(folder)
        dtype = next(module.parameters()).dtype
        example = torch.zeros((1, subject.size, subject.size, 3) if last else (1, 3, subject.size, subject.size), dtype=dtype)
        traced(module, folder / "model.onnx", {"input": {0: "batch"}, "output": {0: "batch"}} if free else None, ("input", "output"), example)
        if LABELS in flags:
            (folder / "labels.json").write_text(json.dumps(["no", "yes"]))
        return folder if any(folder.glob("*.json")) else folder / "model.onnx"

    return Form(name, "import", write, flags, **others)


def yes_or_no(logits: torch.Tensor) -> torch.Tensor:
    yes = logits[:, 0].sigmoid()
    return torch.stack([1 - yes, yes], -1)


def transformers_forms(name: str, subject: Subject) -> list[Form]:
    # A copy in float16: the reference stays what it is.
    half = transformers.ViTForImageClassification(subject.model.config).eval()
    half.load_state_dict(subject.model.state_dict())
    half = half.half()
    unnamed = ("--labels", "none")
    return [
        converted(name, subject),
        converted("the same, operators of onnxruntime", subject, "--target", "cuda"),
        Form("the same, PyTorch itself in float16", "", lambda folder: folder, dtype="float16", module=Tensor(half)),
        converted("the same, float16", subject, "--dtype", "float16", dtype="float16"),
        imported("the same, exported", subject, Tensor(subject.model), *unnamed),
        imported("the same, exported in float16", subject, Tensor(half), *unnamed, dtype="float16"),
    ]


def timm_forms(name: str, subject: Subject) -> list[Form]:
    one_logit = imported("the same, exported with one logit of rank 1", subject, OneLogit(subject.model), "--labels", LABELS, answer=yes_or_no)
    return [converted(name, subject), one_logit]


def torchvision_forms(name: str, subject: Subject) -> list[Form]:
    flags = ("--labels", "none", "--recipe", "torchvision")
    return [
        imported(name, subject, subject.model, *flags),
        imported("the same, channels last, softmax within", subject, ChannelsLast(subject.model), *flags, last=True),
        imported("the same, batch fixed at 1", subject, subject.model, *flags, free=False),
    ]


def one_form(name: str, subject: Subject) -> list[Form]:
    return [converted(name, subject)]


def layer_scale() -> torch.nn.Module:
    return VisionTransformer(embed_dim=192, depth=12, num_heads=3, num_classes=CLASSES, init_values=1.0, reg_tokens=4, no_embed_class=True)


def by_name(name: str) -> Subject:
    return of_timm(name, lambda: timm.create_model(name, num_classes=CLASSES))


SUBJECTS: list[tuple[str, Callable[[], Subject], Callable[[str, Subject], list[Form]]]] = [
    ("transformers ViT-Ti/16", lambda: hugging_face("vit", "Ti", 16), transformers_forms),
    ("transformers ViT-Ti/14", lambda: hugging_face("vit", "Ti", 14), one_form),
    ("transformers ViT-Ti/16 of 384 pixels", lambda: hugging_face("vit", "Ti", 16, 384), one_form),
    ("transformers ViT-S/16", lambda: hugging_face("vit", "S", 16), one_form),
    ("transformers ViT-S/32", lambda: hugging_face("vit", "S", 32), one_form),
    ("transformers DeiT-Ti/16, distilled", lambda: hugging_face("deit", "Ti", 16), one_form),
    ("timm ViT-Ti/16", lambda: by_name("vit_tiny_patch16_224"), timm_forms),
    ("timm DeiT-Ti/16, distilled", lambda: by_name("deit_tiny_distilled_patch16_224"), one_form),
    (
        "timm ViT-Ti/16 with layer scale and 4 registers",
        lambda: of_timm("vit_small_patch16_224", layer_scale, model_args={"num_heads": 3}),
        one_form,
    ),
    ("torchvision ViT-Ti/16, exported", of_torchvision, torchvision_forms),
    ("transformers ViT-B/16", lambda: hugging_face("vit", "B", 16), one_form),
]


def logits_of(subject: Subject, images: list[Image.Image]) -> torch.Tensor:
    batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    return torch.cat([subject.logits(torch.stack([subject.prepare(image) for image in batch])) for batch in batches])


def spread(subject: Subject, logits: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
    """Scales and centres the classifier; all images' logits as it then has them. Without a bias before, they follow from the old ones."""
    mean = logits[sample].mean(0)
    low, high = 0.0, 1e4
    for _ in range(60):
        scale = (low + high) / 2
        first = ((logits[sample] - mean) * scale).softmax(-1).max(-1).values.median()
        low, high = (scale, high) if first < AIM else (low, scale)
    for head in subject.heads:
        head.weight.mul_(scale)
        head.bias.copy_(-mean * scale)
    return (logits - mean) * scale


def served(form: Form, scratch: Path, images: list[Image.Image]) -> np.ndarray:
    """Probabilities of the graph that vitserve makes, float32 [images, classes]."""
    source = scratch / "source"
    source.mkdir()
    flags = [flag.replace("FOLDER", str(source)) for flag in form.flags]
    argv = ["node", VITSERVE, form.command, form.write(source), "--model-repository", scratch / "models", "--name", "it", *flags]
    finished = subprocess.run(argv, capture_output=True, text=True)
    if finished.returncode != 0:
        raise SystemExit(f"{form.name}: vitserve {form.command} failed\n{finished.stderr}")
    folder = scratch / "models/it/1"
    manifest = json.loads((folder / "model.json").read_text())
    if (manifest["input"]["type"], manifest["output"]["kind"]) != ("uint8", "probabilities"):
        raise SystemExit(f"{form.name}: not prepared: {manifest['input']}, {manifest['output']}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(folder / manifest["graph"]["file"], options, providers=["CPUExecutionProvider"])
    pixels = np.stack([apply_recipe(manifest["preprocessing"], image) for image in images])
    if manifest["input"]["layout"] == "NCHW":
        pixels = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    step = BATCH if manifest["batchInvariant"] else 1
    parts = [pixels[start : start + step] for start in range(0, len(pixels), step)]
    return np.concatenate([session.run([manifest["output"]["name"]], {manifest["input"]["name"]: part})[0] for part in parts])


@torch.no_grad()
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos; the first 125 are taken")
    parser.add_argument("--cifar", type=Path, required=True, help="zip archive of CIFAR-10 images")
    parser.add_argument("--count", type=int, default=200, help="how many images in all; the rest are from the archive")
    parser.add_argument("--only", default="", help="only the models whose name has this text, and what is made of them")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(args.threads)

    photos = list(read_images(args.photos))[: min(125, args.count)]
    small = list(read_images(args.cifar))
    chosen = np.linspace(0, len(small) - 1, args.count - len(photos)).astype(int)
    images = [decode(data) for _, data in photos + [small[index] for index in chosen]]
    sample = torch.linspace(0, len(images) - 1, min(CALIBRATION, len(images))).long()

    print(f"{len(photos)} photos and {len(chosen)} small images; {CLASSES} classes\n")
    print("| model | by | at most apart | same class first | its probability: 5 %, median, 95 % | classes that come first | goal |")
    print("|---|---|---|---|---|---|---|", flush=True)
    begin, missed = time.monotonic(), 0
    for name, make, forms_of in SUBJECTS:
        if args.only not in name:
            continue
        subject = make()
        for head in subject.heads:
            head.bias.zero_()
        logits = spread(subject, logits_of(subject, images), sample)
        for form in forms_of(name, subject):
            expected = form.answer(logits).numpy()
            if form.module is not None:
                answers = torch.cat([form.module(subject.prepare(image)[None].half()).float().softmax(-1) for image in images]).numpy()
            else:
                with tempfile.TemporaryDirectory(prefix="vitserve-top1-") as scratch:
                    answers = served(form, Path(scratch), images)
            if answers.shape != expected.shape:
                raise SystemExit(f"{form.name}: {answers.shape} instead of {expected.shape}")
            apart = float(np.abs(answers - expected).max())
            same = int((answers.argmax(1) == expected.argmax(1)).sum())
            first = ", ".join(f"{value:.2f}" for value in np.percentile(expected.max(1), [5, 50, 95]))
            kinds = len(set(expected.argmax(1).tolist()))
            goal, by = "", ""
            if form.module is None:
                passed = apart <= GOALS[form.dtype] and (same == len(images) or form.dtype == "float16")
                missed += not passed
                goal = f"≤ {GOALS[form.dtype]:.0e}{'' if passed else ', **missed**'}"
                by = f"`{' '.join([form.command, *form.flags])}`".replace("FOLDER/", "")
            print(f"| {form.name} | {by} | {apart:.1e} | {same} of {len(images)} | {first} | {kinds} | {goal} |", flush=True)
    print(f"\n{time.monotonic() - begin:.0f} s" + (f"; {missed} missed" if missed else ""))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
