"""CLIP's image encoder as the paper (arXiv 2103.00020) and transformers' CLIPVisionModel define it: python3 clip.py [OUT].

A class token and learnt positions, a norm before the blocks, pre-norm blocks; the class token's final norm is the pooled
vector, which visual_projection takes into the space shared with text. The last hidden state itself is not normed.

LLaVA's projector (transformers, models/llava/modeling_llava.py; haotian-liu/LLaVA, multimodal_projector/builder.py) takes an earlier
hidden state without the class token through two linear layers; VipLLaVA's norms several side by side first.
"""
import torch
from tiny import ACT, Weights, attended, hidden_states, out_folder, picture, write


def vision_model(w, pixels, prefix, width, layers, heads, mlp, patch, act, eps):
    grid = pixels.shape[-1] // patch
    x = w.patches(pixels, f'{prefix}embeddings.patch_embedding', width, patch, bias=False)
    x = torch.cat([w(f'{prefix}embeddings.class_embedding', width).expand(1, 1, -1), x], 1)
    x = x + w(f'{prefix}embeddings.position_embedding.weight', grid * grid + 1, width)
    x = w.layer_norm(x, f'{prefix}pre_layrnorm', eps)
    states = {'embeddings': x}
    for n in range(layers):
        at = f'{prefix}encoder.layers.{n}.'
        y = w.layer_norm(x, at + 'layer_norm1', eps)
        q, k, v = (w.linear(y, f'{at}self_attn.{name}_proj', width) for name in 'qkv')
        x = x + w.linear(attended(states, n, q, k, v, heads), at + 'self_attn.out_proj', width)
        y = w.layer_norm(x, at + 'layer_norm2', eps)
        x = x + w.linear(ACT[act](w.linear(y, at + 'mlp.fc1', mlp)), at + 'mlp.fc2', width)
        states[f'hidden_states.{n}'] = x
    states['features'] = x
    states['pooled'] = w.layer_norm(x[:, 0], f'{prefix}post_layernorm', eps)
    return states


def main():
    out = out_folder()
    sizes = {'width': 16, 'layers': 2, 'heads': 4, 'mlp': 40, 'patch': 4}

    # CLIPModel, as files from before 2023 have it, with a sparse config: quick_gelu and eps are the class's defaults.
    w, pixels = Weights(1), picture(16)
    expected = vision_model(w, pixels, 'vision_model.', **sizes, act='quick_gelu', eps=1e-5)
    expected['projected'] = w.linear(expected['pooled'], 'visual_projection', 24, bias=False)
    w['vision_model.embeddings.position_ids'] = torch.arange(17).reshape(1, 17)
    write(out, 'clip', w, {
        'architectures': ['CLIPModel'], 'model_type': 'clip', 'projection_dim': 24,
        'vision_config': {'hidden_size': 16, 'intermediate_size': 40, 'num_hidden_layers': 2, 'num_attention_heads': 4, 'image_size': 16, 'patch_size': 4},
    }, {'pixel_values': pixels, **expected}, others=[('logit_scale', ()), ('text_projection.weight', (24, 16)), ('text_model.final_layer_norm.weight', (16,))])

    # Inside LLaVA, as transformers 4.52 to 5.5 keep it in memory; an image of 18 leaves a rim that no patch covers. The projector takes
    # what goes into the last block, by the class's defaults.
    w, pixels = Weights(2), picture(18)
    expected = vision_model(w, pixels, 'model.vision_tower.vision_model.', **sizes, act='gelu', eps=1e-6)
    at = 'model.multi_modal_projector.'
    y = torch.nn.functional.gelu(w.linear(hidden_states(expected)[-2][:, 1:], at + 'linear_1', 24))
    expected['merged'] = w.linear(y, at + 'linear_2', 24)
    write(out, 'clip-llava', w, {
        'architectures': ['LlavaForConditionalGeneration'], 'model_type': 'llava', 'text_config': {'model_type': 'llama', 'hidden_size': 24},
        'vision_config': {'model_type': 'clip_vision_model', 'hidden_size': 16, 'intermediate_size': 40, 'num_hidden_layers': 2, 'num_attention_heads': 4, 'image_size': 18, 'patch_size': 4,
                          'hidden_act': 'gelu', 'layer_norm_eps': 1e-6},
    }, {'pixel_values': pixels, **expected}, others=[('model.image_newline', (24,)), ('model.language_model.norm.weight', (24,))])

    # The original LLaVA, whose projector stands above the module that holds the tower; here it keeps the class token.
    w, pixels = Weights(80), picture(16)
    expected = vision_model(w, pixels, 'model.vision_tower.vision_tower.vision_model.', **sizes, act='quick_gelu', eps=1e-5)
    y = torch.nn.functional.gelu(w.linear(hidden_states(expected)[-1], 'model.mm_projector.0', 24))
    expected['merged'] = w.linear(y, 'model.mm_projector.2', 24)
    write(out, 'clip-llava-original', w, {
        'architectures': ['LlavaLlamaForCausalLM'], 'model_type': 'llava_llama', 'hidden_size': 24, 'num_attention_heads': 3, 'mm_hidden_size': 16, 'mm_projector_type': 'mlp2x_gelu',
        'mm_vision_select_layer': -1, 'mm_vision_select_feature': 'cls_patch', 'mm_vision_tower': 'openai/clip-vit-large-patch14-336',
        'vision_config': {'model_type': 'clip_vision_model', 'hidden_size': 16, 'intermediate_size': 40, 'num_hidden_layers': 2, 'num_attention_heads': 4, 'image_size': 16, 'patch_size': 4},
    }, {'pixel_values': pixels, **expected}, others=[('model.embed_tokens.weight', (4, 24))])

    # The first LLaVA, with one layer.
    w, pixels = Weights(81), picture(16)
    expected = vision_model(w, pixels, 'model.vision_tower.vision_tower.vision_model.', **sizes, act='quick_gelu', eps=1e-5)
    expected['merged'] = w.linear(hidden_states(expected)[-2][:, 1:], 'model.mm_projector', 24)
    write(out, 'clip-llava-linear', w, {
        'architectures': ['LlavaLlamaForCausalLM'], 'model_type': 'llava', 'hidden_size': 24, 'mm_vision_select_layer': -2,
        'vision_config': {'model_type': 'clip_vision_model', 'hidden_size': 16, 'intermediate_size': 40, 'num_hidden_layers': 2, 'num_attention_heads': 4, 'image_size': 16, 'patch_size': 4},
    }, {'pixel_values': pixels, **expected}, others=[('model.embed_tokens.weight', (4, 24))])

    # VipLLaVA: what goes into the first block, what comes out of it, and what comes out of the last.
    w, pixels = Weights(82), picture(16)
    expected = vision_model(w, pixels, 'vision_tower.vision_model.', **sizes, act='quick_gelu', eps=1e-5)
    at = 'multi_modal_projector.'
    y = torch.cat([hidden_states(expected)[n][:, 1:] for n in (-1, 0, -2)], -1)
    y = torch.nn.functional.gelu(w.linear(w.layer_norm(y, at + 'projector_layernorm', 1e-5), at + 'linear_1', 24))
    expected['merged'] = w.linear(y, at + 'linear_2', 24)
    write(out, 'clip-vipllava', w, {
        'architectures': ['VipLlavaForConditionalGeneration'], 'model_type': 'vipllava', 'text_config': {'hidden_size': 24}, 'vision_feature_layers': [-1, 0, -2],
        'vision_config': {'model_type': 'clip_vision_model', 'hidden_size': 16, 'intermediate_size': 40, 'num_hidden_layers': 2, 'num_attention_heads': 4, 'image_size': 16, 'patch_size': 4},
    }, {'pixel_values': pixels, **expected}, others=[('language_model.model.norm.weight', (24,))])


if __name__ == '__main__':
    main()
