"""V-JEPA 2 in PyTorch: checkpoints with random weights, and how long a clip takes.

Run by `cargo xtask bench vjepa2`, as `make FOLDER NAME` or `serve FOLDER THREADS`. Serving, it does what each line of its
input asks for and answers with one JSON object a line.
"""

import json
import os
import resource
import sys
import time

import torch
from safetensors.torch import save_file
from transformers import VJEPA2Config, VJEPA2Model
from transformers.utils import logging

# Sixteen frames of 256 x 256 pixels in ViT-L, and the smallest that has everything.
SIZES = {
    "vit-l": dict(frames_per_clip=16),
    "tiny": dict(
        crop_size=64,
        frames_per_clip=8,
        hidden_size=96,
        num_attention_heads=3,
        num_hidden_layers=3,
        pred_hidden_size=48,
        pred_num_attention_heads=3,
        pred_num_hidden_layers=2,
        pred_num_mask_tokens=4,
    ),
}


def clip_of(config):
    side = config.crop_size
    shape = (1, config.frames_per_clip, config.in_chans, side, side)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def encode(model, clip):
    return model(pixel_values_videos=clip, skip_predictor=True).last_hidden_state


def make(folder, name):
    """Writes a checkpoint, and in `encoded.safetensors` a clip and what PyTorch makes of it."""
    torch.manual_seed(0)
    config = VJEPA2Config(**SIZES[name])
    model = VJEPA2Model(config).eval()
    os.makedirs(folder, exist_ok=True)
    config.save_pretrained(folder)
    weights = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(weights, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
    clip = clip_of(config)
    save_file({"clip": clip, "encoded": encode(model, clip)}, os.path.join(folder, "encoded.safetensors"))


def matmul_gflops():
    """The best of some products of the size that ViT-L has most of."""
    x, weight = torch.randn(2048, 1024), torch.randn(4096, 1024)
    seconds = []
    with torch.inference_mode():
        for _ in range(12):
            begin = time.perf_counter()
            torch.nn.functional.linear(x, weight)
            seconds.append(time.perf_counter() - begin)
    return 2e-9 * x.numel() * weight.shape[0] / min(seconds)


def serve(folder, threads):
    torch.set_num_threads(threads)
    model = VJEPA2Model.from_pretrained(folder).eval()
    clip = clip_of(model.config)
    encode(model, clip)
    peak_mib = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    answer = dict(attention=model.config._attn_implementation, torch=torch.__version__, threads=torch.get_num_threads())
    print(json.dumps(answer), flush=True)
    for line in sys.stdin:
        command, *arguments = line.split()
        if command == "encode":
            count = int(arguments[0])
            begin = time.perf_counter()
            for _ in range(count):
                encode(model, clip)
            answer = dict(seconds=(time.perf_counter() - begin) / count, peak_mib=peak_mib())
        elif command == "matmul":
            answer = dict(gflops=matmul_gflops())
        else:
            sys.exit(f"'{command}' is no command")
        print(json.dumps(answer), flush=True)


def main():
    command, folder, argument = sys.argv[1:]
    if command == "make":
        make(folder, argument)
    elif command == "serve":
        serve(folder, int(argument))
    else:
        sys.exit(f"'{command}' is no command")


logging.disable_progress_bar()
main()
