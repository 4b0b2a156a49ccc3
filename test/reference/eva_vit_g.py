"""EVA's ViT-g (arXiv 2211.07636) as BLIP-2 (arXiv 2301.12597) has it: python3 eva_vit_g.py [OUT].

transformers' Blip2VisionModel norms every token at the end, and pools by norming the class token once more. LAVIS's
VisionTransformer (lavis/models/eva_vit.py) has biases for queries and values only, and its final norm lies outside.
"""
import torch
from tiny import Weights, attended, out_folder, picture, write

EPS = 1e-6


def blip2(w, pixels, prefix, width, layers, heads, mlp, patch):
    grid = pixels.shape[-1] // patch
    x = w.patches(pixels, f'{prefix}embeddings.patch_embedding', width, patch, bias=True)
    x = torch.cat([w(f'{prefix}embeddings.class_embedding', 1, 1, width), x], 1) + w(f'{prefix}embeddings.position_embedding', 1, grid * grid + 1, width)
    states = {'embeddings': x}
    for n in range(layers):
        at = f'{prefix}encoder.layers.{n}.'
        q, k, v = w.linear(w.layer_norm(x, at + 'layer_norm1', EPS), at + 'self_attn.qkv', 3 * width).chunk(3, -1)
        x = x + w.linear(attended(states, n, q, k, v, heads), at + 'self_attn.projection', width)
        y = torch.nn.functional.gelu(w.linear(w.layer_norm(x, at + 'layer_norm2', EPS), at + 'mlp.fc1', mlp))
        x = x + w.linear(y, at + 'mlp.fc2', width)
        states[f'hidden_states.{n}'] = x
    x = states['features'] = w.layer_norm(x, f'{prefix}post_layernorm', EPS)
    states['pooled'] = w.layer_norm(x[:, 0], f'{prefix}post_layernorm', EPS)
    return states


def lavis(w, pixels, prefix, width, layers, heads, mlp, patch):
    grid = pixels.shape[-1] // patch
    x = w.patches(pixels, f'{prefix}patch_embed.proj', width, patch, bias=True)
    x = torch.cat([w(f'{prefix}cls_token', 1, 1, width), x], 1) + w(f'{prefix}pos_embed', 1, grid * grid + 1, width)
    states = {'embeddings': x}
    for n in range(layers):
        at = f'{prefix}blocks.{n}.'
        y = w.layer_norm(x, at + 'norm1', EPS)
        bias = torch.cat([w(at + 'attn.q_bias', width), torch.zeros(width).double(), w(at + 'attn.v_bias', width)])
        q, k, v = (y @ w(at + 'attn.qkv.weight', 3 * width, width).T + bias).chunk(3, -1)
        x = x + w.linear(attended(states, n, q, k, v, heads), at + 'attn.proj', width)
        y = torch.nn.functional.gelu(w.linear(w.layer_norm(x, at + 'norm2', EPS), at + 'mlp.fc1', mlp))
        x = x + w.linear(y, at + 'mlp.fc2', width)
        states[f'hidden_states.{n}'] = x
    states['features'] = x
    return states


def main():
    out = out_folder()
    sizes = {'width': 16, 'layers': 2, 'heads': 4, 'mlp': 40, 'patch': 4}
    fields = {'hidden_size': 16, 'intermediate_size': 40, 'num_hidden_layers': 2, 'num_attention_heads': 4, 'image_size': 16, 'patch_size': 4}
    pixels = picture(16)
    w = Weights(14)
    write(out, 'eva-blip2', w, {'architectures': ['Blip2ForConditionalGeneration'], 'model_type': 'blip-2', 'vision_config': {'model_type': 'blip_2_vision_model', **fields}},
          {'pixel_values': pixels, **blip2(w, pixels, 'vision_model.', **sizes)}, others=[('query_tokens', (1, 4, 12)), ('qformer.layernorm.weight', (12,)), ('language_projection.weight', (24, 12)), ('language_model.lm_head.weight', (8, 24))])
    w = Weights(15)
    write(out, 'eva-lavis', w, {'architectures': ['Blip2ForConditionalGeneration'], 'model_type': 'blip-2', 'vision_config': {'model_type': 'blip_2_vision_model', **fields}},
          {'pixel_values': pixels, **lavis(w, pixels, 'visual_encoder.', **sizes)}, file='blip2_tiny.pth', others=[('ln_vision.weight', (16,)), ('query_tokens', (1, 4, 12)), ('Qformer.cls.bias', (12,))])


main()
