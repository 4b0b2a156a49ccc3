"""AIMv2's image encoder (arXiv 2411.14402; transformers' Aimv2VisionModel): python3 aimv2.py [OUT].

No class token. RMS norms throughout, the first after the patch embedding and before positions are added; SwiGLU MLPs. In the
head a learnt token is itself the query: it attends to normed tokens, and a linear layer follows. In Apple's own code (apple/aimv2-*,
modeling_aimv2.py) queries, keys and values are one layer, and fc1 is the MLP's gate, fc3 what it multiplies.
"""
from tiny import ACT, Weights, attended, attention, out_folder, picture, put_pool_weights, write

EPS = 1e-5


def vision_model(w, pixels, prefix, width, layers, heads, mlp, patch, bias, head):
    grid = pixels.shape[-1] // patch
    x = w.rms_norm(w.patches(pixels, f'{prefix}embeddings.patch_embed', width, patch, bias=True), f'{prefix}embeddings.rms_norm', EPS)
    x = x + w(f'{prefix}embeddings.position_embedding.weight', grid * grid, width)
    states = {'embeddings': x}
    for n in range(layers):
        at = f'{prefix}encoder.layers.{n}.'
        y = w.rms_norm(x, at + 'rms_norm1', EPS)
        q, k, v = (w.linear(y, f'{at}attention.{name}_proj', width, bias) for name in 'qkv')
        x = x + w.linear(attended(states, n, q, k, v, heads), at + 'attention.out_proj', width, bias)
        y = w.rms_norm(x, at + 'rms_norm2', EPS)
        y = ACT['silu'](w.linear(y, at + 'ffn.gate_proj', mlp, bias)) * w.linear(y, at + 'ffn.up_proj', mlp, bias)
        x = x + w.linear(y, at + 'ffn.down_proj', width, bias)
        states[f'hidden_states.{n}'] = x
    x = states['features'] = w.rms_norm(x, f'{prefix}rms_norm', EPS)
    if head:
        at = f'{prefix}head.'
        k, v = (w.linear(x, f'{at}{name}_proj', width, bias) for name in 'kv')
        gathered, weights = attention(w(at + 'cls_token', 1, 1, width), k, v, heads)
        states['pooled'] = w.linear(gathered, at + 'output_proj', width)[:, 0]
        put_pool_weights(states, weights)
    return states


def apple_model(w, pixels, prefix, width, layers, heads, mlp, patch, qkv_bias, use_bias):
    grid = pixels.shape[-1] // patch
    at = f'{prefix}preprocessor.'
    x = w.rms_norm(w.patches(pixels, at + 'patchifier.proj', width, patch, bias=True), at + 'patchifier.norm', EPS)
    x = x + w(at + 'pos_embed', 1, grid * grid, width)
    states = {'embeddings': x}
    for n in range(layers):
        at = f'{prefix}trunk.blocks.{n}.'
        q, k, v = w.linear(w.rms_norm(x, at + 'norm_1', EPS), at + 'attn.qkv', 3 * width, qkv_bias).chunk(3, -1)
        x = x + w.linear(attended(states, n, q, k, v, heads), at + 'attn.proj', width, use_bias)
        y = w.rms_norm(x, at + 'norm_2', EPS)
        y = ACT['silu'](w.linear(y, at + 'mlp.fc1', mlp, use_bias)) * w.linear(y, at + 'mlp.fc3', mlp, use_bias)
        x = x + w.linear(y, at + 'mlp.fc2', width, use_bias)
        states[f'hidden_states.{n}'] = x
    states['features'] = w.rms_norm(x, f'{prefix}trunk.post_trunk_norm', EPS)
    return states


def main():
    out = out_folder()
    sizes = {'width': 16, 'layers': 2, 'heads': 4, 'mlp': 44, 'patch': 4}
    fields = {'hidden_size': 16, 'intermediate_size': 44, 'num_hidden_layers': 2, 'num_attention_heads': 4, 'patch_size': 4, 'image_size': 16}

    # apple/aimv2-*-lit: with its head.
    w, pixels = Weights(30), picture(16)
    write(out, 'aimv2', w, {'architectures': ['Aimv2VisionModel'], 'model_type': 'aimv2_vision_model', **fields, 'use_head': True},
          {'pixel_values': pixels, **vision_model(w, pixels, '', **sizes, bias=False, head=True)})

    # Inside another model, with biases and without head; 18 leaves a rim.
    w, pixels = Weights(31), picture(18)
    write(out, 'aimv2-tower', w, {'architectures': ['Ovis2ForConditionalGeneration'], 'model_type': 'ovis2', 'vision_config': {'model_type': 'aimv2_vision_model', **fields, 'image_size': 18, 'qkv_bias': True, 'mlp_bias': True, 'use_head': False}},
          {'pixel_values': pixels, **vision_model(w, pixels, 'model.vision_tower.', **sizes, bias=True, head=False)}, others=[('model.language_model.norm.weight', (16,))])

    # In Ovis 2 as it was published, whose head over the visual vocabulary is not the encoder's.
    w, pixels = Weights(32), picture(16)
    backbone = {'model_type': 'aimv2', **fields, 'qkv_bias': True, 'use_bias': False}
    write(out, 'aimv2-apple', w, {'architectures': ['Ovis'], 'model_type': 'ovis', 'visual_tokenizer_config': {'model_type': 'aimv2_visual_tokenizer', 'backbone_config': backbone}},
          {'pixel_values': pixels, **apple_model(w, pixels, 'visual_tokenizer.backbone.', **sizes, qkv_bias=True, use_bias=False)},
          others=[('visual_tokenizer.head.0.weight', (8, 64)), ('vte.weight', (8, 16)), ('llm.model.norm.weight', (16,))])


main()
