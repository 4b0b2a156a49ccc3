"""InternViT (arXiv 2312.14238; OpenGVLab's modeling_intern_vit.py and transformers' InternVLVisionModel): python3 intern_vit.py [OUT].

Pre-norm blocks with layer scale, LayerNorm (300M) or RMSNorm (6B); in the 6B queries and keys are normed over all heads
together before they are split. No norm before the blocks and none after. The original's pooler_output is the class token.

The projector (modeling_internvl_chat.py, extract_feature; transformers' models/internvl) puts 2 x 2 patches side by side by a pixel shuffle,
then a norm and two layers.
"""
import torch
from tiny import Weights, attended, out_folder, picture, write

ORIGINAL = {'cls': 'embeddings.class_embedding', 'pos': 'embeddings.position_embedding', 'patch': 'embeddings.patch_embedding', 'block': 'encoder.layers.{}.', 'qkv': 'attn.qkv', 'out': 'attn.proj',
            'q_norm': 'attn.q_norm', 'k_norm': 'attn.k_norm', 'ls1': 'ls1', 'ls2': 'ls2', 'norm1': 'norm1', 'norm2': 'norm2'}
PORT = {'cls': 'embeddings.cls_token', 'pos': 'embeddings.position_embeddings', 'patch': 'embeddings.patch_embeddings.projection', 'block': 'encoder.layer.{}.',
        'q': 'attention.q_proj', 'k': 'attention.k_proj', 'v': 'attention.v_proj', 'out': 'attention.projection_layer',
        'q_norm': 'attention.q_norm', 'k_norm': 'attention.k_norm', 'ls1': 'lambda_1', 'ls2': 'lambda_2', 'norm1': 'layernorm_before', 'norm2': 'layernorm_after'}


def vision_model(w, pixels, names, prefix, width, layers, heads, mlp, patch, rms, qk_norm, qkv_bias, eps=1e-6, final=None, pooled=False):
    norm = w.rms_norm if rms else w.layer_norm
    grid = pixels.shape[-1] // patch
    x = w.patches(pixels, prefix + names['patch'], width, patch, bias=True)
    x = torch.cat([w(prefix + names['cls'], 1, 1, width), x], 1) + w(prefix + names['pos'], 1, grid * grid + 1, width)
    states = {'embeddings': x}
    for n in range(layers):
        at = prefix + names['block'].format(n)
        y = norm(x, at + names['norm1'], eps)
        if 'qkv' in names:
            q, k, v = w.linear(y, at + names['qkv'], 3 * width, qkv_bias).chunk(3, -1)
        else:
            q, k, v = (w.linear(y, at + names[name], width, qkv_bias) for name in 'qkv')
        if qk_norm:
            q, k = w.rms_norm(q, at + names['q_norm'], eps), w.rms_norm(k, at + names['k_norm'], eps)
        x = x + w(at + names['ls1'], width, around=0.5) * w.linear(attended(states, n, q, k, v, heads), at + names['out'], width)
        y = torch.nn.functional.gelu(w.linear(norm(x, at + names['norm2'], eps), at + 'mlp.fc1', mlp))
        x = x + w(at + names['ls2'], width, around=0.5) * w.linear(y, at + 'mlp.fc2', width)
        states[f'hidden_states.{n}'] = x
    if final is not None:
        x = w.layer_norm(x, prefix + final, eps)
    states['features'] = x
    if pooled:
        states['pooled'] = x[:, 0]
    return states


def projected(w, features, norm, fc1, fc2, out=24):
    """Of features without the class token; the pixel shuffle as the class writes it."""
    side, width = int(features.shape[1] ** 0.5), features.shape[-1]
    x = features.reshape(1, side, side, width)
    x = x.view(1, side, side // 2, width * 2).permute(0, 2, 1, 3).contiguous().view(1, side // 2, side // 2, width * 4).permute(0, 2, 1, 3)
    y = w.linear(w.layer_norm(x.reshape(1, -1, width * 4), norm, 1e-5), fc1, out)
    return w.linear(torch.nn.functional.gelu(y), fc2, out)


def main():
    out = out_folder()
    sizes = {'width': 20, 'layers': 2, 'heads': 5, 'mlp': 40, 'patch': 4}
    fields = {'hidden_size': 20, 'intermediate_size': 40, 'num_hidden_layers': 2, 'num_attention_heads': 5}
    pixels = picture(16)
    language = [('language_model.model.norm.weight', (24,))]

    # InternViT-6B, whose values are the class's defaults, inside InternVL-Chat.
    w = Weights(10)
    expected = vision_model(w, pixels, ORIGINAL, 'vision_model.', **sizes, rms=True, qk_norm=True, qkv_bias=False, pooled=True)
    expected['merged'] = projected(w, expected['features'][:, 1:], 'mlp1.0', 'mlp1.1', 'mlp1.3')
    write(out, 'internvit-6b', w, {'architectures': ['InternVLChatModel'], 'model_type': 'internvl_chat', 'select_layer': -1, 'downsample_ratio': 0.5, 'ps_version': 'v2', 'llm_config': {'hidden_size': 24}, 'vision_config': {'architectures': ['InternVisionModel'], 'model_type': 'intern_vit_6b', **fields, 'image_size': 16, 'patch_size': 4}},
          {'pixel_values': pixels, **expected}, others=language)
    # InternViT-300M, on its own.
    w = Weights(11)
    expected = vision_model(w, pixels, ORIGINAL, '', **sizes, rms=False, qk_norm=False, qkv_bias=True, pooled=True)
    write(out, 'internvit-300m', w, {'architectures': ['InternVisionModel'], 'model_type': 'intern_vit_6b', **fields, 'image_size': 16, 'patch_size': 4,
                                     'qkv_bias': True, 'qk_normalization': False, 'norm_type': 'layer_norm'}, {'pixel_values': pixels, **expected})
    # transformers' port: sides are pairs.
    w = Weights(12)
    expected = vision_model(w, pixels, PORT, 'vision_tower.', **sizes, rms=False, qk_norm=False, qkv_bias=True)
    at = 'multi_modal_projector.'
    expected['merged'] = projected(w, expected['features'][:, 1:], at + 'layer_norm', at + 'linear_1', at + 'linear_2')
    write(out, 'internvl-hf', w, {'architectures': ['InternVLForConditionalGeneration'], 'model_type': 'internvl', 'text_config': {'hidden_size': 24}, 'vision_config': {'model_type': 'internvl_vision', **fields, 'image_size': [16, 16], 'patch_size': [4, 4], 'attention_bias': True}},
          {'pixel_values': pixels, **expected}, others=language)
    # The port of a 6B, in memory, with the norm that it has when nothing pools the tokens' mean; the projector takes what it gives.
    w = Weights(13)
    expected = vision_model(w, pixels, PORT, 'model.vision_tower.', **sizes, rms=True, qk_norm=True, qkv_bias=False, final='layernorm')
    at = 'model.multi_modal_projector.'
    expected['merged'] = projected(w, expected['features'][:, 1:], at + 'layer_norm', at + 'linear_1', at + 'linear_2')
    write(out, 'internvl-hf-6b', w, {'architectures': ['InternVLForConditionalGeneration'], 'model_type': 'internvl', 'vision_config': {'model_type': 'internvl_vision', **fields, 'image_size': [16, 16], 'patch_size': [4, 4],
          'use_qk_norm': True, 'norm_type': 'rms_norm', 'use_mean_pooling': False}}, {'pixel_values': pixels, **expected}, others=[('model.language_model.norm.weight', (24,))])


main()
