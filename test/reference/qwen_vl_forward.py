"""Qwen-VL's encoder (arXiv 2308.12966; Qwen/Qwen-VL, visual.py): python3 qwen_vl_forward.py [OUT].

Blocks have q, k and v head by head in one layer; the pool is nn.MultiheadAttention's own function, with output_dim / 128 heads,
two of them here. Positions are resized as torch.nn.functional.interpolate does. Writes OUT/qwen-vl, and beside the tiny checkpoint
whose features were given with it the attention maps of its picture, once its hidden states agree with those given.
"""
import json
import os
import struct

import numpy
import torch
from tiny import Weights, attention, out_folder, picture, put_pool_weights, safetensors, write

EPS = 1e-6


def resized(table, side):
    own = int(len(table) ** 0.5)
    if own == side:
        return table
    return torch.nn.functional.interpolate(table.T.reshape(1, -1, own, own), (side, side), mode='bicubic', align_corners=False)[0].flatten(1).T


def encoder(w, pixels, prefix, width, layers, heads, mlp, patch, output, queries):
    side = pixels.shape[-1] // patch
    x = w.patches(pixels, f'{prefix}conv1', width, patch, bias=False) + resized(w(f'{prefix}positional_embedding', 256, width), side)
    x = w.layer_norm(x, f'{prefix}ln_pre', EPS)
    states, maps = {'embeddings': x}, []
    for n in range(layers):
        at = f'{prefix}transformer.resblocks.{n}.'
        qkv = w.linear(w.layer_norm(x, at + 'ln_1', EPS), at + 'attn.in_proj', 3 * width).reshape(1, -1, heads, 3, width // heads)
        context, weights = attention(*(qkv[:, :, :, part].flatten(2) for part in range(3)), heads)
        maps.append(weights)
        x = x + w.linear(context, at + 'attn.out_proj', width)
        y = torch.nn.functional.gelu(w.linear(w.layer_norm(x, at + 'ln_2', EPS), at + 'mlp.c_fc', mlp))
        x = x + w.linear(y, at + 'mlp.c_proj', width)
        states[f'hidden_states.{n}'] = x
    at = f'{prefix}attn_pool.'
    kv = x if width == output else w.linear(x, at + 'kv_proj', output, bias=False)
    kv = w.layer_norm(kv, at + 'ln_kv', EPS).transpose(0, 1)
    positions = w(at + 'pos_embed', queries, output)
    q = w.layer_norm(w(at + 'query', queries, output), at + 'ln_q', EPS) + positions
    pooled, weights = torch.nn.functional.multi_head_attention_forward(
        q[:, None], kv + resized(positions, side)[:, None], kv, output, max(1, output // 128),
        w(at + 'attn.in_proj_weight', 3 * output, output), w(at + 'attn.in_proj_bias', 3 * output), None, None, False, 0.0,
        w(at + 'attn.out_proj.weight', output, output), w(at + 'attn.out_proj.bias', output), training=False, average_attn_weights=False)
    put_pool_weights(states, weights)
    states['features'] = w.layer_norm(pooled.transpose(0, 1), f'{prefix}ln_post', EPS)
    return states, maps


class Stored(Weights):
    """The weights of a sharded float16 checkpoint."""

    def __init__(self, folder):
        super().__init__(0)
        with open(os.path.join(folder, 'model.safetensors.index.json')) as f:
            for name in sorted(set(json.load(f)['weight_map'].values())):
                self.update(read(os.path.join(folder, name)))


def read(path):
    with open(path, 'rb') as f:
        header = json.loads(f.read(struct.unpack('<Q', f.read(8))[0]))
        data = f.read()
    types = {'F16': '<f2', 'F32': '<f4'}
    return {key: torch.from_numpy(numpy.frombuffer(data[slice(*info['data_offsets'])], types[info['dtype']]).copy()).reshape(info['shape'])
            for key, info in header.items() if key != '__metadata__'}


def main():
    out = out_folder()
    w, pixels = Weights(43), picture(20)
    sizes = {'width': 16, 'layers': 2, 'heads': 4, 'mlp': 40, 'patch': 4, 'output': 256, 'queries': 4}
    encoder(w, pixels, 'transformer.visual.', **sizes)
    state = {key: tensor.half() for key, tensor in w.items()}
    # Drawn by the pass before; halves are what is stored, so they are what counts.
    w.update({key: tensor.float() for key, tensor in state.items()})
    states, maps = encoder(w, pixels, 'transformer.visual.', **sizes)
    for layer, weights in enumerate(maps):
        states[f'attentions.{layer}.{layer + 1}'] = weights[:, layer + 1]
    write(out, 'qwen-vl', state, {'architectures': ['QWenLMHeadModel'], 'model_type': 'qwen', 'visual': {
        'width': 16, 'layers': 2, 'heads': 4, 'mlp_ratio': 2.5, 'patch_size': 4, 'image_size': 20, 'output_dim': 256, 'n_queries': 4}},
        {'pixel_values': pixels, **states}, others=[('transformer.visual.proj', (256, 2)), ('transformer.ln_f.weight', (16,)), ('lm_head.weight', (8, 16))])

    folder = os.path.join(os.path.dirname(__file__), '..', 'fixtures', 'qwen-vl-tiny-safetensors')
    given = read(os.path.join(folder, 'expected.safetensors'))
    states, maps = encoder(Stored(folder), given['pixel_values'].double(), 'transformer.visual.', width=64, layers=3, heads=4, mlp=196, patch=14, output=64, queries=4)
    for key, value in given.items():
        if key != 'pixel_values':
            assert (states[key] - value).norm() / value.norm() < 1e-6, key
    chosen = {'attentions.0.3': maps[0][:, 3], 'attentions.1.mean': maps[1].mean(1), 'attentions.2.1': maps[2][:, 1]}
    safetensors(os.path.join(folder, '..', 'attentions', 'qwen-vl-tiny.safetensors'), {key: value.float() for key, value in chosen.items()})


main()
