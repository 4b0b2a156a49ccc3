"""DaViT (arXiv 2204.03645) as Florence-2 has it: python3 florence2.py [OUT].

microsoft/Florence-2-large, modeling_florence2.py (class DaViT), and transformers' Florence2VisionBackbone (models/florence2): other names.
Each of four stages begins with a convolution, normed after it in the first stage and before it in the others. A pair is a spatial block
(attention within windows) and a channel block (attention among the channels of a group, scaled by the number of tokens); in both a
depthwise 3 x 3 convolution is added before the attention and before the MLP. Windows at the right and lower edges are filled with zeros after
the norm, whose keys and values are so the biases. `attentions.N.H` is of pair N's spatial block: for each token, row by row of the grid,
what it gives to the places of its window. All norms have PyTorch's epsilon; there is none at the end.
"""
import torch
from tiny import Weights, out_folder, picture, write

F = torch.nn.functional
EPS, KERNELS, STRIDES = 1e-5, (7, 3, 3, 3), (4, 2, 2, 2)

ORIGINAL = dict(conv='proj', conv1='conv1.fn.dw', norm1='{}.norm', qkv='{}.fn.qkv', out='{}.fn.proj', conv2='conv2.fn.dw', norm2='ffn.norm', fc1='ffn.fn.net.fc1', fc2='ffn.fn.net.fc2')
NATIVE = dict(conv='conv', conv1='conv1', norm1='norm1', qkv='{}.qkv', out='{}.proj', conv2='conv2', norm2='norm2', fc1='ffn.fc1', fc2='ffn.fc2')


def last(maps):
    return maps.permute(0, 2, 3, 1)


def first(rows):
    return rows.permute(0, 3, 1, 2)


def depthwise(w, path, x):
    """x (batch, rows, columns, width)."""
    width = x.shape[-1]
    return x + last(F.conv2d(first(x), w(path + '.weight', width, 1, 3, 3), w(path + '.bias', width), padding=1, groups=width))


def window_attention(w, names, x, heads, side):
    """Of normed x (batch, rows, columns, width), what its tokens gather; and the weights by head, (heads, tokens, side * side)."""
    _, rows, columns, width = x.shape
    padded = F.pad(x, (0, 0, 0, -columns % side, 0, -rows % side))
    q, k, v = w.linear(padded, names['qkv'], 3 * width).chunk(3, -1)
    out = torch.zeros_like(padded)
    maps = torch.zeros(heads, *padded.shape[1:3], side * side).double()
    for top in range(0, rows, side):
        for left in range(0, columns, side):
            at = (slice(None), slice(top, top + side), slice(left, left + side))
            qw, kw, vw = (one[at].reshape(side * side, heads, -1).transpose(0, 1) for one in (q, k, v))
            weights = (qw @ kw.transpose(1, 2) / (width // heads) ** 0.5).softmax(-1)
            out[at] = (weights @ vw).transpose(0, 1).reshape(1, side, side, width)
            maps[at] = weights.reshape(heads, side, side, side * side)
    return w.linear(out[:, :rows, :columns], names['out'], width), maps[:, :rows, :columns].reshape(heads, rows * columns, -1)


def channel_attention(w, names, x, groups):
    _, rows, columns, width = x.shape
    tokens = rows * columns
    q, k, v = (one.reshape(tokens, groups, -1).permute(1, 2, 0) for one in w.linear(x, names['qkv'], 3 * width).chunk(3, -1))
    weights = (q @ k.transpose(1, 2) / tokens ** 0.5).softmax(-1)
    return w.linear((weights @ v).permute(2, 0, 1).reshape(x.shape), names['out'], width)


def davit(w, pixels, prefix, layout, widths, depths, heads, groups, window):
    x, states, n = last(pixels), {}, 0
    rows_of = lambda x: x.reshape(1, -1, x.shape[-1])
    for stage, (width, depth) in enumerate(zip(widths, depths)):
        at = f'{prefix}convs.{stage}.'
        conv = at + layout['conv']
        if stage > 0:
            x = w.layer_norm(x, at + 'norm', EPS)
        kernel = w(conv + '.weight', width, x.shape[-1], KERNELS[stage], KERNELS[stage], scale=(x.shape[-1] * KERNELS[stage] ** 2) ** -0.5)
        x = last(F.conv2d(first(x), kernel, w(conv + '.bias', width), stride=STRIDES[stage], padding=KERNELS[stage] // 2))
        if stage == 0:
            x = w.layer_norm(x, at + 'norm', EPS)
            states['embeddings'] = rows_of(x)
        for index in range(depth):
            for kind, attention in (('spatial_block', 'window_attn'), ('channel_block', 'channel_attn')):
                names = {name: f'{prefix}blocks.{stage}.{index}.{kind}.{path.format(attention)}' for name, path in layout.items()}
                x = depthwise(w, names['conv1'], x)
                y = w.layer_norm(x, names['norm1'], EPS)
                if kind == 'spatial_block':
                    y, maps = window_attention(w, names, y, heads[stage], window)
                    head = (n + 1) % heads[stage]
                    states[f'attentions.{n}.{head}'] = maps[head][None]
                else:
                    y = channel_attention(w, names, y, groups[stage])
                x = depthwise(w, names['conv2'], x + y)
                y = F.gelu(w.linear(w.layer_norm(x, names['norm2'], EPS), names['fc1'], 4 * width))
                x = x + w.linear(y, names['fc2'], width)
            states[f'hidden_states.{n}'] = rows_of(x)
            n += 1
    states['features'] = rows_of(x)
    return states


def main():
    out = out_folder()
    sizes = {'widths': (8, 12, 16, 24), 'depths': (1, 1, 2, 1), 'heads': (2, 3, 4, 6), 'groups': (2, 2, 4, 3)}
    lists = {'depths': sizes['depths'], 'num_heads': sizes['heads'], 'num_groups': sizes['groups'], 'patch_size': KERNELS, 'patch_stride': STRIDES, 'patch_padding': (3, 1, 1, 1), 'patch_prenorm': (False, True, True, True)}
    fields = {name: list(values) for name, values in lists.items()}
    # No side of a grid is a multiple of the window's.
    w, pixels = Weights(90), picture(64, 96)
    write(out, 'florence2', w, {'architectures': ['Florence2ForConditionalGeneration'], 'model_type': 'florence2', 'vision_config': {'model_type': 'davit', **fields, 'dim_embed': list(sizes['widths']), 'window_size': 5, 'projection_dim': 20}},
          {'pixel_values': pixels, **davit(w, pixels, 'vision_tower.', ORIGINAL, **sizes, window=5)},
          others=[('image_projection', (24, 20)), ('image_proj_norm.weight', (20,)), ('image_pos_embed.row_embeddings.weight', (50, 12)), ('language_model.model.shared.weight', (30, 20))])
    # Windows that need nothing added in the first two stages.
    w, pixels = Weights(91), picture(96)
    write(out, 'florence2-hf', w, {'architectures': ['Florence2ForConditionalGeneration'], 'model_type': 'florence2', 'vision_config': {'model_type': 'florence_vision', **fields, 'embed_dim': list(sizes['widths']), 'window_size': 4, 'projection_dim': 20, 'activation_function': 'gelu'}},
          {'pixel_values': pixels, **davit(w, pixels, 'model.vision_tower.', NATIVE, **sizes, window=4)},
          others=[('model.multi_modal_projector.image_projection.weight', (20, 24)), ('model.language_model.shared.weight', (30, 20))])


main()
