"""Pixtral's encoder (arXiv 2410.07073): python3 pixtral.py [OUT].

Mistral's own (mistral-inference, vision_encoder.py) turns neighbouring channels as complex numbers; transformers' port
(models/pixtral) turns channel and channel + half, for which the rows of its query and key weights stand in another order. Of the
frequencies, those at even places go with the row, those at odd ones with the column. RMSNorm, gated MLPs, no biases.
"""
import torch
from tiny import ACT, Weights, out_folder, picture, write

PORT = {'q': 'attention.q_proj', 'k': 'attention.k_proj', 'v': 'attention.v_proj', 'o': 'attention.o_proj', 'gate': 'feed_forward.gate_proj', 'down': 'feed_forward.down_proj', 'up': 'feed_forward.up_proj'}
MISTRAL = {'q': 'attention.wq', 'k': 'attention.wk', 'v': 'attention.wv', 'o': 'attention.wo', 'gate': 'feed_forward.w1', 'down': 'feed_forward.w2', 'up': 'feed_forward.w3'}


def angles_of(rows, columns, dim, theta):
    """(tokens, dim / 2)."""
    frequencies = theta ** -(torch.arange(0, dim, 2).double() / dim)
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing='ij')
    return torch.cat([row.reshape(-1, 1) * frequencies[0::2], column.reshape(-1, 1) * frequencies[1::2]], 1)


def turned(x, angles, neighbours):
    """x (1, heads, tokens, dim)."""
    if neighbours:
        pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2).contiguous())
        return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(-2)
    half, twice = x.shape[-1] // 2, torch.cat([angles, angles], 1)
    return x * twice.cos() + torch.cat([-x[..., half:], x[..., :half]], -1) * twice.sin()


def encoder(w, pixels, prefix, names, width, layers, heads, mlp, patch, act, theta, maps=()):
    rows, columns = pixels.shape[2] // patch, pixels.shape[3] // patch
    dim = width // heads
    angles = angles_of(rows, columns, dim, theta)
    x = w.rms_norm(w.patches(pixels, f'{prefix}patch_conv', width, patch, bias=False), f'{prefix}ln_pre', 1e-5)
    states = {'embeddings': x}
    for n in range(layers):
        at = f'{prefix}transformer.layers.{n}.'
        y = w.rms_norm(x, at + 'attention_norm', 1e-5)
        q, k, v = (w.linear(y, at + names[name], width, False).reshape(1, -1, heads, dim).transpose(1, 2) for name in 'qkv')
        q, k = (turned(one, angles, names is MISTRAL) for one in (q, k))
        attended = (q @ k.transpose(2, 3) / dim ** 0.5).softmax(-1)
        for head in [head for layer, head in maps if layer == n]:
            states[f'attentions.{n}.{head}'] = attended[:, head]
        x = x + w.linear((attended @ v).transpose(1, 2).reshape(1, -1, width), at + names['o'], width, False)
        y = w.rms_norm(x, at + 'ffn_norm', 1e-5)
        y = ACT[act](w.linear(y, at + names['gate'], mlp, False)) * w.linear(y, at + names['up'], mlp, False)
        x = x + w.linear(y, at + names['down'], width, False)
        states[f'hidden_states.{n}'] = x
    states['features'] = x
    return states


def main():
    out = out_folder()
    sizes = {'width': 24, 'layers': 2, 'heads': 3, 'mlp': 36, 'patch': 4}
    fields = {'hidden_size': 24, 'intermediate_size': 36, 'num_hidden_layers': 2, 'num_attention_heads': 3, 'patch_size': 4, 'image_size': 64}
    pixels = picture(20, 36)
    w = Weights(60)
    expected = encoder(w, pixels, 'vision_tower.', PORT, **sizes, act='silu', theta=10000.0, maps=[(1, 2)])
    write(out, 'pixtral', w, {'architectures': ['LlavaForConditionalGeneration'], 'model_type': 'llava', 'vision_config': {'model_type': 'pixtral', **fields, 'head_dim': 8, 'hidden_act': 'silu'}},
          {'pixel_values': pixels, **expected}, others=[('multi_modal_projector.linear_1.weight', (12, 24)), ('language_model.model.norm.weight', (12,))])
    w = Weights(61)
    expected = encoder(w, pixels, 'vision_encoder.', MISTRAL, **sizes, act='silu', theta=100.0, maps=[(1, 2)])
    write(out, 'pixtral-mistral', w, {'dim': 12, 'vision_encoder': {**fields, 'num_channels': 3, 'rope_theta': 100.0, 'max_image_size': 64}},
          {'pixel_values': pixels, **expected}, file='consolidated.safetensors', config_name='params.json', others=[('vision_language_adapter.w_in.weight', (12, 24)), ('norm.weight', (12,))])


main()
