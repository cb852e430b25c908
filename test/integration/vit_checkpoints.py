"""Small ViT checkpoints with random weights, saved by transformers and timm, with their answers.

    python vit_checkpoints.py FOLDER

writes FOLDER/<case>/ for each case: the checkpoint as published ones are, and expected.json with the
conversion's flags, the tolerance, and the probabilities (and the representation under the head) of
two pictures that the test draws by the same formula.
"""

import json
import sys
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from transformers import (
    DeiTConfig,
    DeiTForImageClassification,
    DeiTForImageClassificationWithTeacher,
    ViTConfig,
    ViTForImageClassification,
)

SHAPE = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 80, "num_labels": 7}
TIMM = {"embed_dim": 48, "depth": 2, "num_heads": 3, "mlp_ratio": 2.0, "num_classes": 7, "img_size": 32, "patch_size": 16}
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def randomize(model: torch.nn.Module) -> torch.nn.Module:
    """All parameters random, those of norms near one and zero, so that a missing one is noticed."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        values = torch.randn(parameter.shape, generator=generator) * 0.15
        parameter.data = values + 1 if "norm" in name and name.endswith("weight") else values
    return model.eval()


def pixels(height: int, width: int) -> np.ndarray:
    index = np.arange(2 * height * width * 3, dtype=np.uint64)
    return (((index * 2654435761) & 0xFFFFFFFF) >> 13 & 255).astype(np.uint8).reshape(2, height, width, 3)


def inputs(size: tuple[int, int], mean: list[float], std: list[float]) -> torch.Tensor:
    values = (pixels(*size).astype(np.float64) / 255 - np.array(mean)) / np.array(std)
    return torch.from_numpy(values).permute(0, 3, 1, 2).float()


def expect(folder: Path, size: tuple[int, int], logits: torch.Tensor, embedding: torch.Tensor, flags: list[str], tolerance: float) -> None:
    record = {"height": size[0], "width": size[1], "flags": flags, "tolerance": tolerance}
    record |= {"probabilities": logits.float().softmax(-1).flatten().tolist(), "embedding": embedding.float().flatten().tolist()}
    (folder / "expected.json").write_text(json.dumps(record))


def hugging_face(root: Path, case: str, kind: str, names: str = "saved", size: tuple[int, int] | None = None, flags=(), tolerance=2e-5, **config):
    settings = SHAPE | {"image_size": 32, "patch_size": 16} | config
    family = ViTConfig if kind == "vit" else DeiTConfig
    cls = {"vit": ViTForImageClassification, "deit": DeiTForImageClassification, "teacher": DeiTForImageClassificationWithTeacher}[kind]
    model = randomize(cls(family(**settings)))
    folder = root / case
    folder.mkdir()
    if names == "bfloat16":
        model = model.bfloat16()
    model.save_pretrained(folder, max_shard_size="40KB" if names == "sharded" else "5GB")
    model = model.float()
    if names == "sharded":
        assert (folder / "model.safetensors.index.json").exists()
    if names in ("new", "bare"):
        state = {name.removeprefix("vit.") if names == "bare" else name: value for name, value in model.state_dict().items()}
        save_file(state, folder / "model.safetensors")
    image = (settings["image_size"],) * 2 if isinstance(settings["image_size"], int) else tuple(settings["image_size"])
    processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": image[0], "width": image[1]}}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    size = size or image
    values = inputs(size, [0.5] * 3, [0.5] * 3)
    interpolate = {"interpolate_pos_encoding": True} if size != image else {}
    body = model.vit if kind == "vit" else model.deit
    tokens = body(values, **interpolate).last_hidden_state
    expect(folder, size, model(values, **interpolate).logits, tokens[:, 0], list(flags), tolerance)


def timm_model(root: Path, case: str, model: torch.nn.Module, size=(32, 32), flags=(), tolerance=2e-5, name="vit_small_patch16_224", resized=None, **config):
    folder = root / case
    folder.mkdir()
    randomize(model)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / "model.safetensors")
    trained = model.patch_embed.img_size
    pretrained = {"input_size": [3, *trained], "crop_pct": 1.0, "crop_mode": "squash", "interpolation": "bicubic", **IMAGENET}
    (folder / "config.json").write_text(json.dumps({"architecture": name, "global_pool": model.global_pool, "pretrained_cfg": pretrained, **config}))
    if resized is not None:
        state = timm.models.vision_transformer.checkpoint_filter_fn(model.state_dict(), resized)
        resized.load_state_dict(state)
        model = resized.eval()
    values = inputs(size, **IMAGENET)
    features = model.forward_features(values)
    distilled = isinstance(model, VisionTransformerDistilled)
    embedding = features[:, 0] if distilled else model.forward_head(features, pre_logits=True)
    expect(folder, size, model(values), embedding, list(flags), tolerance)


@torch.no_grad()
def main() -> None:
    root = Path(sys.argv[1])
    args = {"model_args": {"num_heads": 3}}
    hugging_face(root, "vit-old-names", "vit")
    hugging_face(root, "vit-new-names", "vit", names="new")
    hugging_face(root, "vit-without-prefix", "vit", names="bare")
    hugging_face(root, "vit-sharded", "vit", names="sharded")
    hugging_face(root, "vit-bfloat16", "vit", names="bfloat16")
    hugging_face(root, "vit-no-qkv-bias", "vit", qkv_bias=False)
    hugging_face(root, "vit-tanh", "vit", hidden_act="gelu_pytorch_tanh", layer_norm_eps=1e-3)
    hugging_face(root, "vit-quick-gelu-cuda", "vit", hidden_act="quick_gelu", flags=["--target", "cuda"])
    hugging_face(root, "vit-tanh-cuda", "vit", hidden_act="gelu_new", flags=["--target", "cuda"])
    hugging_face(root, "vit-cuda", "vit", flags=["--target", "cuda"])
    hugging_face(root, "vit-cuda-no-bias", "vit", qkv_bias=False, flags=["--target", "cuda"])
    hugging_face(root, "vit-float16", "vit", flags=["--dtype", "float16"], tolerance=5e-3)
    hugging_face(root, "vit-patch14", "vit", image_size=56, patch_size=14)
    hugging_face(root, "vit-patch32", "vit", image_size=96, patch_size=32)
    hugging_face(root, "vit-oblong", "vit", image_size=[32, 64], patch_size=[16, 8])
    hugging_face(root, "vit-larger", "vit", image_size=64, size=(96, 160), flags=["--image-size", "96x160"])
    hugging_face(root, "deit", "deit")
    hugging_face(root, "deit-teacher", "teacher")
    hugging_face(root, "deit-teacher-smaller", "teacher", image_size=96, size=(64, 64), flags=["--image-size", "64"])

    timm_model(root, "timm-vit", VisionTransformer(**TIMM), **args)
    timm_model(root, "timm-layer-scale", VisionTransformer(**TIMM, init_values=0.1, qkv_bias=False), **args)
    timm_model(root, "timm-larger", VisionTransformer(**TIMM), resized=VisionTransformer(**TIMM | {"img_size": (64, 96)}), size=(64, 96),
               flags=["--image-size", "64x96"], **args)
    gap = {"global_pool": "avg", "class_token": False, "reg_tokens": 4, "no_embed_class": True}
    timm_model(root, "timm-registers-average", VisionTransformer(**TIMM, **gap), **args)
    timm_model(root, "timm-average-float16", VisionTransformer(**TIMM, global_pool="avg", fc_norm=False), tolerance=5e-3,
               flags=["--dtype", "float16"], **args)
    timm_model(root, "timm-registers-no-embed", VisionTransformer(**TIMM, reg_tokens=2, no_embed_class=True), name="vit_base_patch16_reg2_224", **args)
    clip = {"pre_norm": True, "norm_layer": lambda *a, **k: torch.nn.LayerNorm(*a, eps=1e-5, **k), "act_layer": "quick_gelu"}
    timm_model(root, "timm-clip", VisionTransformer(**TIMM, **clip), name="vit_base_patch16_clip_quickgelu_224", **args)
    timm_model(root, "timm-deit-distilled", VisionTransformerDistilled(**TIMM), name="deit_small_distilled_patch16_224", **args)
    timm_model(root, "timm-deit-distilled-cuda", VisionTransformerDistilled(**TIMM), name="deit_small_distilled_patch16_224",
               flags=["--target", "cuda"], **args)
    tiny = timm.create_model("vit_tiny_patch16_224", depth=1, num_classes=7, img_size=64)
    timm_model(root, "timm-heads-by-name", tiny, size=(64, 64), name="vit_tiny_patch16_224")


main()
