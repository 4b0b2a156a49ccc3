"""DINOv3's ViT (arXiv 2508.10104; transformers, models/dinov3_vit): python3 dinov3.py [OUT].

No table of positions: patches' queries and keys turn with their centres, from -1 to 1 over the picture's height and width, times
2 pi over powers of a base of 100; the class token and the registers, which come before, do not turn.
"""
import math

import torch
from tiny import ACT, Weights, out_folder, picture, write


def angles_of(rows, columns, dim, base):
    periods = base ** torch.arange(0, 1, 4 / dim, dtype=torch.float64)
    y, x = torch.meshgrid((torch.arange(rows) + 0.5) / rows * 2 - 1, (torch.arange(columns) + 0.5) / columns * 2 - 1, indexing='ij')
    angles = 2 * math.pi * torch.stack([y.flatten(), x.flatten()], 1)[:, :, None].double() / periods
    return angles.flatten(1).tile(2)


def turned(x, angles):
    """x (1, heads, tokens, dim): the last tokens turn."""
    before, patches = x[:, :, :-len(angles)], x[:, :, -len(angles):]
    half = x.shape[-1] // 2
    patches = patches * angles.cos() + torch.cat([-patches[..., half:], patches[..., :half]], -1) * angles.sin()
    return torch.cat([before, patches], 2)


def vision_model(w, pixels, width, layers, heads, mlp, patch, registers, gated, biases, prefix='', base=100.0, eps=1e-5, maps=()):
    rows, columns = pixels.shape[2] // patch, pixels.shape[3] // patch
    dim = width // heads
    x = w.patches(pixels, f'{prefix}embeddings.patch_embeddings', width, patch, bias=True)
    w(f'{prefix}embeddings.mask_token', 1, 1, width)
    before = [w(f'{prefix}embeddings.cls_token', 1, 1, width), w(f'{prefix}embeddings.register_tokens', 1, registers, width)]
    x = torch.cat([*before, x], 1)
    angles = angles_of(rows, columns, dim, base)
    states = {'embeddings': x}
    for n in range(layers):
        at = f'{prefix}layer.{n}.'
        y = w.layer_norm(x, at + 'norm1', eps)
        q, k, v = (w.linear(y, f'{at}attention.{name}_proj', width, name in biases).reshape(1, -1, heads, dim).transpose(1, 2) for name in 'qkv')
        attended = (turned(q, angles) @ turned(k, angles).transpose(2, 3) / math.sqrt(dim)).softmax(-1)
        for head in [head for layer, head in maps if layer == n]:
            states[f'attentions.{n}.{head}'] = attended[:, head]
        context = (attended @ v).transpose(1, 2).reshape(1, -1, width)
        x = x + w(at + 'layer_scale1.lambda1', width, around=0.5) * w.linear(context, at + 'attention.o_proj', width)
        y = w.layer_norm(x, at + 'norm2', eps)
        up = w.linear(y, at + 'mlp.up_proj', mlp)
        y = ACT['silu'](w.linear(y, at + 'mlp.gate_proj', mlp)) * up if gated else ACT['gelu'](up)
        x = x + w(at + 'layer_scale2.lambda1', width, around=0.5) * w.linear(y, at + 'mlp.down_proj', width)
        states[f'hidden_states.{n}'] = x
    x = states['features'] = w.layer_norm(x, f'{prefix}norm', eps)
    states['pooled'] = x[:, 0]
    return states


def main():
    out = out_folder()
    sizes = {'width': 16, 'layers': 2, 'heads': 2, 'mlp': 32, 'patch': 4}
    fields = {'hidden_size': 16, 'num_hidden_layers': 2, 'num_attention_heads': 2, 'intermediate_size': 32, 'patch_size': 4, 'image_size': 20}
    w, pixels = Weights(50), picture(20, 28)
    expected = vision_model(w, pixels, **sizes, registers=4, gated=False, biases='qv', maps=[(1, 1)])
    write(out, 'dinov3', w, {'architectures': ['DINOv3ViTModel'], 'model_type': 'dinov3_vit', **fields, 'num_register_tokens': 4}, {'pixel_values': pixels, **expected})
    # As the 7B: gated MLPs, no biases of queries and values.
    w, pixels = Weights(51), picture(20)
    expected = vision_model(w, pixels, **sizes, registers=4, gated=True, biases='', maps=[(1, 0)])
    write(out, 'dinov3-gated', w, {'architectures': ['DINOv3ViTModel'], 'model_type': 'dinov3_vit', **fields, 'num_register_tokens': 4, 'use_gated_mlp': True, 'hidden_act': 'silu', 'query_bias': False, 'value_bias': False}, {'pixel_values': pixels, **expected})


main()
