"""MoonViT (Kimi-VL, arXiv 2504.07491) and GLM-4V's encoder (arXiv 2507.01006): python3 moonvit_glm4v.py [OUT].

Both have a table of positions that is resized to the picture's patches by bicubic interpolation, and rotary positions besides:
MoonViT (modeling_kimi_vl.py) turns neighbouring channels as complex numbers, by the column and by the row in turn; GLM-4V
(transformers, models/glm4v) turns halves as Qwen2-VL does, in the order of the merger's blocks, and samples its table.
"""
import torch
from tiny import ACT, Weights, out_folder, picture, write


def attend(q, k, v):
    """(heads, tokens, dim) each: the context (tokens, width) and the maps."""
    maps = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1)
    return (maps @ v).transpose(0, 1).flatten(1), maps


def moonvit(w, pixels, prefix, projector, width, layers, heads, mlp, patch, table):
    rows, columns = pixels.shape[2] // patch, pixels.shape[3] // patch
    dim = width // heads
    x = w.patches(pixels, f'{prefix}patch_embed.proj', width, patch, bias=True)[0]
    grid = w(f'{prefix}patch_embed.pos_emb.weight', *table, width).permute(2, 0, 1)[None]
    x = x + torch.nn.functional.interpolate(grid, (rows, columns), mode='bicubic')[0].flatten(1).T
    frequencies = 10000.0 ** -(torch.arange(0, dim, 4).double() / dim)
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing='ij')
    angles = torch.stack([column.reshape(-1, 1) * frequencies, row.reshape(-1, 1) * frequencies], -1).flatten(1)
    turn = torch.polar(torch.ones_like(angles), angles)

    def turned(one):
        return torch.view_as_real(torch.view_as_complex(one.reshape(heads, -1, dim // 2, 2).contiguous()) * turn).flatten(-2)
    states = {'embeddings': x[None]}
    for n in range(layers):
        at = f'{prefix}encoder.blocks.{n}.'
        q, k, v = w.linear(w.layer_norm(x, at + 'norm0', 1e-5), at + 'wqkv', 3 * width).reshape(-1, 3, heads, dim).permute(1, 2, 0, 3)
        context, maps = attend(turned(q), turned(k), v)
        if n == 1:
            states['attentions.1.2'] = maps[2][None]
        x = x + w.linear(context, at + 'wo', width)
        x = x + w.linear(ACT['gelu_pytorch_tanh'](w.linear(w.layer_norm(x, at + 'norm1', 1e-5), at + 'mlp.fc0', mlp)), at + 'mlp.fc1', width)
        states[f'hidden_states.{n}'] = x[None]
    x = w.layer_norm(x, f'{prefix}encoder.final_layernorm', 1e-5)
    states['features'] = x[None]
    # patch_merger, then Kimi-VL's projector: blocks of 2 x 2, each patch normed, side by side.
    blocks = x.reshape(rows // 2, 2, columns // 2, 2, width).permute(0, 2, 1, 3, 4).reshape(-1, 4, width)
    blocks = w.layer_norm(blocks, f'{projector}pre_norm', 1e-5).reshape(-1, 4 * width)
    states['merged'] = w.linear(torch.nn.functional.gelu(w.linear(blocks, f'{projector}linear_1', 4 * width)), f'{projector}linear_2', 12)[None]
    return states


def glm4v(w, pixels, prefix, width, layers, heads, mlp, patch, side, merger, eps=1e-5, merge=2):
    rows, columns = pixels.shape[2] // patch, pixels.shape[3] // patch
    dim = width // heads
    kernel = w(f'{prefix}patch_embed.proj.weight', width, 3, 2, patch, patch, scale=(6 * patch * patch) ** -0.5)
    x = torch.nn.functional.conv3d(torch.stack([pixels, pixels], 2), kernel, w(f'{prefix}patch_embed.proj.bias', width), stride=(2, patch, patch))[0].flatten(1).T
    order = torch.arange(rows * columns).reshape(rows // merge, merge, columns // merge, merge).permute(0, 2, 1, 3).flatten()
    back = torch.argsort(order)
    row, column = order // columns, order % columns
    x = w.rms_norm(x[order], f'{prefix}post_conv_layernorm', eps)
    at = torch.stack([(column + 0.5) / columns * 2 - 1, (row + 0.5) / rows * 2 - 1], 1).double()[None, :, None]
    table = w(f'{prefix}embeddings.position_embedding.weight', side * side, width).T.reshape(1, width, side, side)
    x = x + torch.nn.functional.grid_sample(table, at, mode='bicubic', align_corners=False, padding_mode='border')[0, :, :, 0].T
    frequencies = 10000.0 ** -(torch.arange(0, dim // 2, 2).double() / (dim // 2))
    angles = torch.cat([row[:, None] * frequencies, column[:, None] * frequencies], 1).tile(2)

    def turned(one):
        return one * angles.cos() + torch.cat([-one[..., dim // 2:], one[..., :dim // 2]], -1) * angles.sin()
    states = {'embeddings': x[back][None]}
    for n in range(layers):
        at = f'{prefix}blocks.{n}.'
        q, k, v = w.linear(w.rms_norm(x, at + 'norm1', eps), at + 'attn.qkv', 3 * width, False).reshape(-1, 3, heads, dim).permute(1, 2, 0, 3)
        context, maps = attend(turned(q), turned(k), v)
        if n == 1:
            states['attentions.1.2'] = maps[2][back][:, back][None]
        x = x + w.linear(context, at + 'attn.proj', width, False)
        y = w.rms_norm(x, at + 'norm2', eps)
        y = ACT['silu'](w.linear(y, at + 'mlp.gate_proj', mlp, False)) * w.linear(y, at + 'mlp.up_proj', mlp, False)
        x = x + w.linear(y, at + 'mlp.down_proj', width, False)
        states[f'hidden_states.{n}'] = x[back][None]
    x = w.rms_norm(x, f'{prefix}post_layernorm', eps)
    states['features'] = x[back][None]
    # The patches of a block follow each other; a convolution makes one token of them, in the language model's width.
    blocks = x.reshape(-1, merge, merge, width).permute(0, 3, 1, 2)
    joined = w(f'{prefix}downsample.weight', mlp, width, merge, merge, scale=(width * merge * merge) ** -0.5)
    y = torch.nn.functional.conv2d(blocks, joined, w(f'{prefix}downsample.bias', mlp), stride=merge).flatten(1)
    y = w.linear(y, f'{prefix}merger.proj', mlp, False)
    y = torch.nn.functional.gelu(w.layer_norm(y, f'{prefix}merger.post_projection_norm', 1e-5))
    y = ACT['silu'](w.linear(y, f'{prefix}merger.gate_proj', merger, False)) * w.linear(y, f'{prefix}merger.up_proj', merger, False)
    states['merged'] = w.linear(y, f'{prefix}merger.down_proj', mlp, False)[None]
    return states


def main():
    out = out_folder()
    sizes = {'width': 24, 'layers': 2, 'heads': 3, 'mlp': 36, 'patch': 4}
    pixels = picture(40, 24)
    w = Weights(70)
    expected = moonvit(w, pixels, 'vision_tower.', 'multi_modal_projector.', **sizes, table=(6, 5))
    write(out, 'moonvit', w, {'architectures': ['KimiVLForConditionalGeneration'], 'model_type': 'kimi_vl', 'vision_config': {'model_type': 'moonvit', 'hidden_size': 24, 'intermediate_size': 36, 'num_hidden_layers': 2, 'num_attention_heads': 3, 'patch_size': 4,
          'init_pos_emb_height': 6, 'init_pos_emb_width': 5, 'merge_kernel_size': [2, 2]}, 'text_config': {'hidden_size': 12}}, {'pixel_values': pixels, **expected}, others=[('language_model.model.norm.weight', (12,))])
    w = Weights(71)
    expected = glm4v(w, pixels, 'model.visual.', **sizes, side=7, merger=60)
    write(out, 'glm4v', w, {'architectures': ['Glm4vForConditionalGeneration'], 'model_type': 'glm4v', 'vision_config': {'model_type': 'glm4v_vision', 'hidden_size': 24, 'depth': 2, 'num_heads': 3, 'patch_size': 4, 'image_size': 28, 'out_hidden_size': 36, 'intermediate_size': 60}},
          {'pixel_values': pixels, **expected}, others=[('model.language_model.norm.weight', (12,))])


main()
