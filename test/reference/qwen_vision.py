"""Qwen2-VL (arXiv 2409.12191), Qwen2.5-VL (2502.13923) and Qwen3-VL's encoders: python3 qwen_vision.py [OUT].

As transformers runs them (models/qwen2_vl, qwen2_5_vl, qwen3_vl): a picture fills both frames of a patch; patches come in the
order of the 2 x 2 blocks that the merger joins, Qwen2.5-VL's in the order of its windows besides; attention is among the
patches of the picture or of the window; rotary embeddings of the row take the first half of the frequencies, of the column
the second. Expected states are put back row by row.
"""
import torch
from tiny import ACT, Weights, out_folder, picture, write

MERGE = 2


def block_order(rows, columns):
    """Token numbers, row by row, in the order of the merger's blocks."""
    numbers = torch.arange(rows * columns).reshape(rows // MERGE, MERGE, columns // MERGE, MERGE)
    return numbers.permute(0, 2, 1, 3).flatten()


def windows(rows, columns, side):
    """Units of MERGE x MERGE tokens in the order of windows of side x side units, and the tokens of each window."""
    units = torch.arange(rows // MERGE * (columns // MERGE)).reshape(rows // MERGE, columns // MERGE)
    order, lengths = [], []
    for top in range(0, rows // MERGE, side):
        for left in range(0, columns // MERGE, side):
            window = units[top:top + side, left:left + side].flatten()
            order.append(window)
            lengths.append(len(window) * MERGE * MERGE)
    return torch.cat(order), lengths


def rotary(rows, columns, dim, theta=10000.0):
    """Angles (tokens, dim) in the order of the merger's blocks."""
    frequencies = theta ** -(torch.arange(0, dim // 2, 2).double() / (dim // 2))
    order = block_order(rows, columns)
    row, column = order // columns, order % columns
    angles = torch.cat([row[:, None] * frequencies, column[:, None] * frequencies], 1)
    return torch.cat([angles, angles], 1)


def turned(x, angles):
    """x (heads, tokens, dim)."""
    half = x.shape[-1] // 2
    return x * angles.cos() + torch.cat([-x[..., half:], x[..., :half]], -1) * angles.sin()


def table_at(table, rows, columns):
    """Qwen3-VL's table between the corners, row by row."""
    side = int(len(table) ** 0.5)
    grid = table.T.reshape(1, -1, side, side)
    return torch.nn.functional.interpolate(grid, (rows, columns), mode='bilinear', align_corners=True)[0].flatten(1).T


def encoder(w, pixels, prefix, kind, width, layers, heads, mlp, patch, act, window=None, everywhere=(), table=None, maps=()):
    rows, columns = pixels.shape[2] // patch, pixels.shape[3] // patch
    dim = width // heads
    norm = w.rms_norm if kind == 'qwen2.5' else w.layer_norm
    kernel = w(f'{prefix}patch_embed.proj.weight', width, 3, 2, patch, patch, scale=(6 * patch * patch) ** -0.5)
    bias = w(f'{prefix}patch_embed.proj.bias', width) if kind == 'qwen3' else None
    frames = torch.stack([pixels, pixels], 2)
    x = torch.nn.functional.conv3d(frames, kernel, bias, stride=(2, patch, patch))[0].flatten(1).T
    if table is not None:
        x = x + table_at(w(f'{prefix}pos_embed.weight', table, width), rows, columns)
    order = block_order(rows, columns)
    x, angles = x[order], rotary(rows, columns, dim)
    lengths = [len(x)]
    if window is not None:
        units, lengths = windows(rows, columns, window // MERGE // patch)
        tokens = (units[:, None] * MERGE * MERGE + torch.arange(MERGE * MERGE)).flatten()
        x, angles, order = x[tokens], angles[tokens], order[tokens]
    back = torch.argsort(order)
    states = {'embeddings': x[back][None]}
    for n in range(layers):
        at = f'{prefix}blocks.{n}.'
        y = norm(x, at + 'norm1', 1e-6)
        q, k, v = w.linear(y, at + 'attn.qkv', 3 * width).reshape(-1, 3, heads, dim).permute(1, 2, 0, 3)
        q, k = turned(q, angles), turned(k, angles)
        parts = [len(x)] if n in everywhere else lengths
        maps_of, contexts = [], []
        for q_part, k_part, v_part in zip(q.split(parts, 1), k.split(parts, 1), v.split(parts, 1)):
            attended = (q_part @ k_part.transpose(1, 2) / dim ** 0.5).softmax(-1)
            maps_of.append(attended)
            contexts.append((attended @ v_part).transpose(0, 1).reshape(-1, width))
        for head in [head for layer, head in maps if layer == n]:
            states[f'attentions.{n}.{head}'] = torch.block_diag(*[part[head] for part in maps_of])[back][:, back][None]
        x = x + w.linear(torch.cat(contexts), at + 'attn.proj', width)
        y = norm(x, at + 'norm2', 1e-6)
        if kind == 'qwen2.5':
            y = w.linear(ACT[act](w.linear(y, at + 'mlp.gate_proj', mlp)) * w.linear(y, at + 'mlp.up_proj', mlp), at + 'mlp.down_proj', width)
        else:
            first, second = ('fc1', 'fc2') if kind == 'qwen2' else ('linear_fc1', 'linear_fc2')
            y = w.linear(ACT[act](w.linear(y, f'{at}mlp.{first}', mlp)), f'{at}mlp.{second}', width)
        x = x + y
        states[f'hidden_states.{n}'] = x[back][None]
    states['features'] = x[back][None]
    return states


def language(prefix, names):
    return [(f'{prefix}{name}', shape) for name, shape in names] + [('model.norm.weight', (12,)), ('lm_head.weight', (8, 12))]


def main():
    out = out_folder()
    sizes = {'width': 24, 'layers': 3, 'heads': 3, 'patch': 4}
    # 10 x 6 patches: windows of four shapes.
    pixels = picture(40, 24)
    fields = {'depth': 3, 'num_heads': 3, 'patch_size': 4}

    w = Weights(40)
    expected = encoder(w, pixels, 'visual.', 'qwen2', **sizes, mlp=48, act='quick_gelu', maps=[(1, 2)])
    merger = [('merger.ln_q.weight', (24,)), ('merger.ln_q.bias', (24,)), ('merger.mlp.0.weight', (96, 96)), ('merger.mlp.0.bias', (96,)), ('merger.mlp.2.weight', (12, 96)), ('merger.mlp.2.bias', (12,))]
    write(out, 'qwen2-vl', w, {'architectures': ['Qwen2VLForConditionalGeneration'], 'model_type': 'qwen2_vl', 'hidden_size': 12, 'vision_config': {'model_type': 'qwen2_vl', 'embed_dim': 24, 'hidden_size': 12, 'mlp_ratio': 2, **fields}},
          {'pixel_values': pixels, **expected}, others=language('visual.', merger[:2] + merger[4:]) + [('visual.merger.mlp.0.bias', (96,))])

    w = Weights(41)
    expected = encoder(w, pixels, 'visual.', 'qwen2.5', **sizes, mlp=36, act='silu', window=16, everywhere=[2], maps=[(1, 2), (2, 0)])
    write(out, 'qwen2.5-vl', w, {'architectures': ['Qwen2_5_VLForConditionalGeneration'], 'model_type': 'qwen2_5_vl', 'hidden_size': 12, 'vision_config': {'model_type': 'qwen2_5_vl', 'hidden_size': 24, 'intermediate_size': 36, 'out_hidden_size': 12, 'window_size': 16, 'fullatt_block_indexes': [2], **fields}},
          {'pixel_values': pixels, **expected}, others=language('visual.', [('merger.ln_q.weight', (24,)), ('merger.mlp.2.bias', (12,))]))

    w = Weights(42)
    expected = encoder(w, pixels, 'model.visual.', 'qwen3', **sizes, mlp=36, act='gelu_pytorch_tanh', table=36, maps=[(1, 2)])
    write(out, 'qwen3-vl', w, {'architectures': ['Qwen3VLForConditionalGeneration'], 'model_type': 'qwen3_vl', 'vision_config': {'model_type': 'qwen3_vl', 'hidden_size': 24, 'intermediate_size': 36, 'out_hidden_size': 12, 'num_position_embeddings': 36, 'deepstack_visual_indexes': [0], **fields}},
          {'pixel_values': pixels, **expected}, others=language('model.visual.', [('merger.norm.weight', (24,)), ('deepstack_merger_list.0.norm.weight', (96,))]))


main()
