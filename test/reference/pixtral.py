"""Pixtral's encoder (arXiv 2410.07073): python3 pixtral.py [OUT].

Mistral's own (mistral-inference, vision_encoder.py) turns neighbouring channels as complex numbers; transformers' port
(models/pixtral) turns channel and channel + half, for which the rows of its query and key weights stand in another order. Of the
frequencies, those at even places go with the row, those at odd ones with the column. RMSNorm, gated MLPs, no biases.

Pixtral 12B's projector is two layers; Mistral Small 3.1's norms, then joins 2 x 2 patches by a linear layer over what unfold gives
(transformers, models/mistral3; vllm, model_executor/models/pixtral.py).
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


def joined(w, features, grid, norm, merging, eps):
    width = features.shape[-1]
    picture = w.rms_norm(features, norm, eps).reshape(1, *grid, width).permute(0, 3, 1, 2)
    return w.linear(torch.nn.functional.unfold(picture, kernel_size=2, stride=2).transpose(1, 2), merging, width, False)


def two_layers(w, x, first, second, out=12, bias=True):
    return w.linear(torch.nn.functional.gelu(w.linear(x, first, out, bias)), second, out, bias)


def main():
    out = out_folder()
    sizes = {'width': 24, 'layers': 2, 'heads': 3, 'mlp': 36, 'patch': 4}
    fields = {'hidden_size': 24, 'intermediate_size': 36, 'num_hidden_layers': 2, 'num_attention_heads': 3, 'patch_size': 4, 'image_size': 64}
    pixels = picture(20, 36)
    w = Weights(60)
    expected = encoder(w, pixels, 'vision_tower.', PORT, **sizes, act='silu', theta=10000.0, maps=[(1, 2)])
    expected['merged'] = two_layers(w, expected['features'], 'multi_modal_projector.linear_1', 'multi_modal_projector.linear_2')
    write(out, 'pixtral', w, {'architectures': ['LlavaForConditionalGeneration'], 'model_type': 'llava', 'vision_feature_layer': -1, 'vision_feature_select_strategy': 'full', 'text_config': {'hidden_size': 12}, 'vision_config': {'model_type': 'pixtral', **fields, 'head_dim': 8, 'hidden_act': 'silu'}},
          {'pixel_values': pixels, **expected}, others=[('language_model.model.norm.weight', (12,))])
    w = Weights(61)
    expected = encoder(w, pixels, 'vision_encoder.', MISTRAL, **sizes, act='silu', theta=100.0, maps=[(1, 2)])
    expected['merged'] = two_layers(w, expected['features'], 'vision_language_adapter.w_in', 'vision_language_adapter.w_out')
    write(out, 'pixtral-mistral', w, {'dim': 12, 'vision_encoder': {**fields, 'num_channels': 3, 'rope_theta': 100.0, 'max_image_size': 64}},
          {'pixel_values': pixels, **expected}, file='consolidated.safetensors', config_name='params.json', others=[('norm.weight', (12,))])

    # Mistral Small 3.1 in both layouts, without biases; sides are multiples of two patches.
    pixels, grid = picture(24, 16), (6, 4)
    w = Weights(62)
    expected = encoder(w, pixels, 'vision_tower.', PORT, **sizes, act='silu', theta=10000.0, maps=[(1, 2)])
    at = 'multi_modal_projector.'
    y = joined(w, expected['features'], grid, at + 'norm', at + 'patch_merger.merging_layer', 1e-3)
    expected['merged'] = two_layers(w, y, at + 'linear_1', at + 'linear_2', bias=False)
    write(out, 'pixtral-mistral3', w, {'architectures': ['Mistral3ForConditionalGeneration'], 'model_type': 'mistral3', 'spatial_merge_size': 2, 'multimodal_projector_bias': False,
          'text_config': {'hidden_size': 12, 'rms_norm_eps': 1e-3}, 'vision_config': {'model_type': 'pixtral', **fields, 'head_dim': 8, 'hidden_act': 'silu'}},
          {'pixel_values': pixels, **expected}, others=[('language_model.model.norm.weight', (12,))])
    w = Weights(63)
    expected = encoder(w, pixels, 'vision_encoder.', MISTRAL, **sizes, act='silu', theta=100.0, maps=[(1, 2)])
    y = joined(w, expected['features'], grid, 'pre_mm_projector_norm', 'patch_merger.merging_layer', 1e-5)
    expected['merged'] = two_layers(w, y, 'vision_language_adapter.w_in', 'vision_language_adapter.w_out', bias=False)
    write(out, 'pixtral-mistral-merger', w, {'dim': 12, 'vision_encoder': {**fields, 'num_channels': 3, 'rope_theta': 100.0, 'max_image_size': 64,
          'mm_projector_id': 'patch_merge', 'spatial_merge_size': 2, 'add_pre_mm_projector_layer_norm': True, 'adapter_bias': False}},
          {'pixel_values': pixels, **expected}, file='consolidated.safetensors', config_name='params.json', others=[('norm.weight', (12,))])


main()
