"""An independent PyTorch definition of the Qwen-VL vision encoder's parameters, for strict loads in tests.

Module names and shapes as DeepSpeed-VisualChat's VisionTransformer has them
(microsoft/DeepSpeedExamples, applications/DeepSpeed-VisualChat). Loads a state dict with strict=True:

    python3 qwen_vl.py WEIGHTS CONFIG.json

WEIGHTS is a file written by torch.save, or the index of a sharded one; CONFIG has a `visual` object.
Prints one JSON object: the keys in order, and for each its dtype, shape and SHA-256.
"""
import hashlib
import json
import os
import sys

import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.in_proj = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)


class Mlp(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.c_fc = nn.Linear(width, hidden)
        self.c_proj = nn.Linear(hidden, width)


class Block(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.ln_2 = nn.LayerNorm(width)
        self.attn = Attention(width)
        self.mlp = Mlp(width, hidden)


class Stack(nn.Module):
    def __init__(self, width, layers, hidden):
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, hidden) for _ in range(layers))


class Resampler(nn.Module):
    def __init__(self, queries, output, width):
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(queries, output), requires_grad=False)
        self.query = nn.Parameter(torch.zeros(queries, output))
        if width != output:
            self.kv_proj = nn.Linear(width, output, bias=False)
        self.attn = nn.MultiheadAttention(output, max(output // 128, 1))
        self.ln_q = nn.LayerNorm(output)
        self.ln_kv = nn.LayerNorm(output)


class VisionTransformer(nn.Module):
    def __init__(self, width, layers, mlp_size, patch_size, output_dim, n_queries=256, **_):
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.zeros(256, width))
        self.conv1 = nn.Conv2d(3, width, patch_size, patch_size, bias=False)
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Stack(width, layers, mlp_size)
        self.attn_pool = Resampler(n_queries, output_dim, width)
        self.ln_post = nn.LayerNorm(output_dim)


def load(path):
    if not path.endswith('.index.json'):
        return torch.load(path, map_location='cpu', weights_only=True)
    state = {}
    with open(path) as file:
        weight_map = json.load(file)['weight_map']
    for name in dict.fromkeys(weight_map.values()):
        state.update(torch.load(os.path.join(os.path.dirname(path), name), map_location='cpu', weights_only=True))
    assert sorted(state) == sorted(weight_map)
    return state


def main():
    state = load(sys.argv[1])
    with open(sys.argv[2]) as file:
        visual = json.load(file)['visual']
    mlp_size = int(visual['width'] * visual['mlp_ratio'])
    VisionTransformer(mlp_size=mlp_size, **visual).load_state_dict(state, strict=True)
    print(json.dumps({key: {
        'dtype': str(tensor.dtype),
        'shape': list(tensor.shape),
        'contiguous': tensor.is_contiguous(),
        'sha256': hashlib.sha256(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest(),
    } for key, tensor in state.items()}))


if __name__ == '__main__':
    main()
