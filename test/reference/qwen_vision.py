"""Qwen2-VL (arXiv 2409.12191), Qwen2.5-VL (2502.13923), Qwen3-VL's and 3.5's encoders, and those of Qwen2.5-Omni and Qwen3-Omni:
python3 qwen_vision.py [OUT].

As transformers runs them (models/qwen2_vl, qwen2_5_vl, qwen2_5_omni, qwen3_vl, qwen3_5, qwen3_omni_moe): a picture fills both frames of a patch; patches come in the
order of the 2 x 2 blocks that the merger joins, Qwen2.5-VL's in the order of its windows besides; attention is among the
patches of the picture or of the window; rotary embeddings of the row take the first half of the frequencies, of the column
the second. Expected states are put back row by row.

Mergers join the MERGE x MERGE patches that follow each other: the main one norms each patch, those of deepstack (after some
blocks, Qwen3-VL) the joined ones. Qwen2.5-VL undoes the order of its windows after merging.
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


def merged(w, x, norm, path, names, out, after=False):
    """x (tokens, width) in the order of the blocks; `after`: the norm is over the joined patches."""
    inside = MERGE * MERGE * x.shape[-1]
    x = norm(x.reshape(-1, inside), f'{path}.{names[0]}', 1e-6) if after else norm(x, f'{path}.{names[0]}', 1e-6).reshape(-1, inside)
    return w.linear(torch.nn.functional.gelu(w.linear(x, f'{path}.{names[1]}', inside)), f'{path}.{names[2]}', out)


OLD, NEW = ('ln_q', 'mlp.0', 'mlp.2'), ('norm', 'linear_fc1', 'linear_fc2')


def encoder(w, pixels, prefix, kind, width, layers, heads, mlp, patch, act, out, window=None, everywhere=(), table=None, maps=(), names=OLD, deepstack=(), deepstack_list='deepstack_merger_list', split=False):
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
    lengths, units = [len(x)], torch.arange(len(x) // MERGE ** 2)
    if window is not None:
        units, lengths = windows(rows, columns, window // MERGE // patch)
        tokens = (units[:, None] * MERGE * MERGE + torch.arange(MERGE * MERGE)).flatten()
        x, angles, order = x[tokens], angles[tokens], order[tokens]
    back = torch.argsort(order)
    states = {'embeddings': x[back][None]}
    for n in range(layers):
        at = f'{prefix}blocks.{n}.'
        y = norm(x, at + 'norm1', 1e-6)
        if split:
            q, k, v = (w.linear(y, f'{at}attn.{name}', width).reshape(-1, heads, dim).transpose(0, 1) for name in 'qkv')
        else:
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
        if n in deepstack:
            index = deepstack.index(n)
            states[f'deepstack.{index}'] = merged(w, x, norm, f'{prefix}{deepstack_list}.{index}', names, out, after=True)[None]
    states['features'] = x[back][None]
    states['merged'] = merged(w, x, norm, f'{prefix}merger', names, out)[torch.argsort(units)][None]
    return states


LANGUAGE = [('model.norm.weight', (12,)), ('lm_head.weight', (8, 12))]


def main():
    folder = out_folder()
    sizes = {'width': 24, 'layers': 3, 'heads': 3, 'patch': 4, 'out': 12}
    # 10 x 6 patches: windows of four shapes.
    pixels = picture(40, 24)
    fields = {'depth': 3, 'num_heads': 3, 'patch_size': 4}

    w = Weights(40)
    expected = encoder(w, pixels, 'visual.', 'qwen2', **sizes, mlp=48, act='quick_gelu', maps=[(1, 2)])
    write(folder, 'qwen2-vl', w, {'architectures': ['Qwen2VLForConditionalGeneration'], 'model_type': 'qwen2_vl', 'hidden_size': 12, 'vision_config': {'model_type': 'qwen2_vl', 'embed_dim': 24, 'hidden_size': 12, 'mlp_ratio': 2, **fields}},
          {'pixel_values': pixels, **expected}, others=LANGUAGE)

    fields25 = {'hidden_size': 24, 'intermediate_size': 36, 'out_hidden_size': 12, 'window_size': 16, 'fullatt_block_indexes': [2], **fields}
    w = Weights(41)
    expected = encoder(w, pixels, 'visual.', 'qwen2.5', **sizes, mlp=36, act='silu', window=16, everywhere=[2], maps=[(1, 2), (2, 0)])
    write(folder, 'qwen2.5-vl', w, {'architectures': ['Qwen2_5_VLForConditionalGeneration'], 'model_type': 'qwen2_5_vl', 'hidden_size': 12, 'vision_config': {'model_type': 'qwen2_5_vl', **fields25}},
          {'pixel_values': pixels, **expected}, others=LANGUAGE)

    w = Weights(43)
    expected = encoder(w, pixels, 'thinker.visual.', 'qwen2.5', **sizes, mlp=36, act='silu', window=16, everywhere=[2], maps=[(1, 2), (2, 0)], split=True)
    write(folder, 'qwen2.5-omni', w, {'architectures': ['Qwen2_5OmniModel'], 'model_type': 'qwen2_5_omni', 'thinker_config': {'model_type': 'qwen2_5_omni_thinker', 'vision_config': {'model_type': 'qwen2_5_omni_vision_encoder', **fields25}}},
          {'pixel_values': pixels, **expected}, others=[('thinker.model.norm.weight', (12,)), ('thinker.audio_tower.conv1.weight', (4, 4, 3)), ('talker.model.norm.weight', (12,)), ('token2wav.code2wav_dit_model.norm_out.linear.weight', (4, 4))])

    fields3 = {'hidden_size': 24, 'intermediate_size': 36, 'out_hidden_size': 12, 'num_position_embeddings': 36, **fields}
    new = {**sizes, 'mlp': 36, 'act': 'gelu_pytorch_tanh', 'table': 36}
    w = Weights(42)
    expected = encoder(w, pixels, 'model.visual.', 'qwen3', **new, maps=[(1, 2)], names=NEW, deepstack=[0, 1])
    write(folder, 'qwen3-vl', w, {'architectures': ['Qwen3VLForConditionalGeneration'], 'model_type': 'qwen3_vl', 'vision_config': {'model_type': 'qwen3_vl', 'deepstack_visual_indexes': [0, 1], **fields3}},
          {'pixel_values': pixels, **expected}, others=[('model.language_model.norm.weight', (12,)), ('lm_head.weight', (8, 12))])

    # Qwen3.5 has no deepstack, and its config does not name it; the language model's linear attention and the draft head stand beside.
    w = Weights(44)
    expected = encoder(w, pixels, 'model.visual.', 'qwen3', **new, maps=[(0, 1)], names=NEW)
    write(folder, 'qwen3.5', w, {'architectures': ['Qwen3_5ForConditionalGeneration'], 'model_type': 'qwen3_5', 'text_config': {'model_type': 'qwen3_5_text', 'hidden_size': 12}, 'vision_config': {'model_type': 'qwen3_5', **fields3}},
          {'pixel_values': pixels, **expected}, others=[('model.language_model.layers.0.linear_attn.in_proj_qkv.weight', (8, 12)), ('model.language_model.norm.weight', (12,)), ('mtp.norm.weight', (12,)), ('lm_head.weight', (8, 12))])

    w = Weights(45)
    expected = encoder(w, pixels, 'thinker.visual.', 'qwen3', **new, maps=[(2, 2)], names=OLD, deepstack=[1], deepstack_list='merger_list')
    write(folder, 'qwen3-omni', w, {'architectures': ['Qwen3OmniMoeForConditionalGeneration'], 'model_type': 'qwen3_omni_moe', 'thinker_config': {'model_type': 'qwen3_omni_moe_thinker', 'vision_config': {'model_type': 'qwen3_omni_moe_vision_encoder', 'deepstack_visual_indexes': [1], **fields3}}},
          {'pixel_values': pixels, **expected}, others=[('thinker.model.norm.weight', (12,)), ('thinker.audio_tower.conv2d1.weight', (4, 1, 3, 3)), ('talker.model.norm.weight', (12,)), ('code2wav.pre_transformer.norm.weight', (4,))])


main()
