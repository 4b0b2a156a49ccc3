"""EVA's towers as timm and so OpenCLIP have them (timm/models/eva.py, timm/layers/pos_embed_sincos.py): python3 timm_eva.py [OUT].

EVA-01: queries and values have biases, keys none; EVA-02's 5B tower, of this build, norms what sub-layers give (EvaBlockPostNorm). EVA-02:
queries and keys of patches are turned besides having positions from a table, neighbours as pairs, the first half of the pairs with the
row and the rest with the column, each as a share of its side times 16; SwiGLU with a norm within; a norm over what attention gathers.
CLIP's projection, the head, has a bias. LayerNorm's epsilon is 1e-6.
"""
import torch
from tiny import Weights, attended, out_folder, picture, write

EPS, REFERENCE = 1e-6, 16


def turned(x, angles, heads):
    """x (1, tokens, width), of which the class token stays; angles (patches, dim / 2)."""
    pairs = torch.view_as_complex(x[0, 1:].reshape(x.shape[1] - 1, heads, -1, 2))
    patches = torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)[:, None]).reshape(1, -1, x.shape[-1])
    return torch.cat([x[:, :1], patches], 1)


def tower(w, pixels, prefix, width, layers, heads, mlp, patch, eva02, after=False, inner_norm=True, projection=0):
    grid, dim = pixels.shape[-1] // patch, width // heads
    x = w.patches(pixels, f'{prefix}patch_embed.proj', width, patch, bias=True)
    x = torch.cat([w(f'{prefix}cls_token', 1, 1, width), x], 1) + w(f'{prefix}pos_embed', 1, grid * grid + 1, width)
    frequencies = 10000.0 ** -(torch.arange(dim // 4).double() / (dim // 4))
    at = torch.arange(grid).double() / grid * REFERENCE
    row, column = torch.meshgrid(at, at, indexing='ij')
    angles = torch.cat([row.reshape(-1, 1) * frequencies, column.reshape(-1, 1) * frequencies], 1)
    states = {'embeddings': x}
    for n in range(layers):
        at = f'{prefix}blocks.{n}.'
        y = x if after else w.layer_norm(x, at + 'norm1', EPS)
        if eva02:
            q, k, v = (w.linear(y, f'{at}attn.{name}_proj', width, name != 'k') for name in 'qkv')
            q, k = turned(q, angles, heads), turned(k, angles, heads)
        else:
            bias = torch.cat([w(at + 'attn.q_bias', width), torch.zeros(width).double(), w(at + 'attn.v_bias', width)])
            q, k, v = (w.linear(y, at + 'attn.qkv', 3 * width, False) + bias).chunk(3, -1)
        y = attended(states, n, q, k, v, heads)
        if eva02 and inner_norm:
            y = w.layer_norm(y, at + 'attn.norm', EPS)
        y = w.linear(y, at + 'attn.proj', width)
        x = x + (w.layer_norm(y, at + 'norm1', EPS) if after else y)
        y = x if after else w.layer_norm(x, at + 'norm2', EPS)
        if eva02:
            y = torch.nn.functional.silu(w.linear(y, at + 'mlp.fc1_g', mlp)) * w.linear(y, at + 'mlp.fc1_x', mlp)
            y = w.layer_norm(y, at + 'mlp.norm', EPS)
        else:
            y = torch.nn.functional.gelu(w.linear(y, at + 'mlp.fc1', mlp))
        y = w.linear(y, at + 'mlp.fc2', width)
        x = x + (w.layer_norm(y, at + 'norm2', EPS) if after else y)
        states[f'hidden_states.{n}'] = x
    x = states['features'] = w.layer_norm(x, f'{prefix}norm', EPS)
    states['pooled'] = x[:, 0]
    if projection:
        states['projected'] = w.linear(x[:, 0], f'{prefix}head', projection)
    return states


def main():
    out = out_folder()
    sizes = {'width': 24, 'layers': 2, 'heads': 3, 'mlp': 32, 'patch': 4}
    fields = {'width': 24, 'layers': 2, 'heads': 3, 'mlp_ratio': 32 / 24, 'patch_size': 4}
    text = [('text.token_embedding.weight', (8, 12)), ('logit_scale', ())]
    w, pixels = Weights(70), picture(16)
    write(out, 'timm-eva02', w, {'vision_config': {**fields, 'image_size': 16}}, {'pixel_values': pixels, **tower(w, pixels, 'visual.trunk.', **sizes, eva02=True, projection=12)}, others=text)
    # As it was trained before CLIP: no norm in attention, no projection.
    w, pixels = Weights(71), picture(12)
    write(out, 'timm-eva02-mim', w, {'vision_config': {**fields, 'image_size': 12}}, {'pixel_values': pixels, **tower(w, pixels, '', **sizes, eva02=True, inner_norm=False)})
    w, pixels = Weights(72), picture(12)
    write(out, 'timm-eva', w, {'vision_config': {**fields, 'image_size': 12}}, {'pixel_values': pixels, **tower(w, pixels, 'visual.trunk.', **sizes, eva02=False, projection=12)}, others=text)
    w, pixels = Weights(73), picture(12)
    write(out, 'timm-eva-after', w, {'vision_config': {**fields, 'image_size': 12, 'use_post_norm': True}}, {'pixel_values': pixels, **tower(w, pixels, '', **sizes, eva02=False, after=True)})


main()
