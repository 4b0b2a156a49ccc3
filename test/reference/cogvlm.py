"""EVA2-CLIP-E as CogVLM has it (arXiv 2311.03079; THUDM/CogVLM, visual.py): python3 cogvlm.py [OUT].

Each sub-layer takes its input as it is, and what it gives is normed before it is added.
"""
import torch
from tiny import Weights, attended, out_folder, picture, write

EPS = 1e-6


def vision_model(w, pixels, prefix, width, layers, heads, mlp, patch):
    grid = pixels.shape[-1] // patch
    x = w.patches(pixels, f'{prefix}patch_embedding.proj', width, patch, bias=True)
    x = torch.cat([w(f'{prefix}patch_embedding.cls_embedding', 1, width)[None], x], 1) + w(f'{prefix}patch_embedding.position_embedding.weight', grid * grid + 1, width)
    states = {'embeddings': x}
    for n in range(layers):
        at = f'{prefix}transformer.layers.{n}.'
        q, k, v = w.linear(x, at + 'attention.query_key_value', 3 * width).chunk(3, -1)
        x = x + w.layer_norm(w.linear(attended(states, n, q, k, v, heads), at + 'attention.dense', width), at + 'input_layernorm', EPS)
        y = w.linear(torch.nn.functional.gelu(w.linear(x, at + 'mlp.fc1', mlp)), at + 'mlp.fc2', width)
        x = x + w.layer_norm(y, at + 'post_attention_layernorm', EPS)
        states[f'hidden_states.{n}'] = x
    states['features'] = x
    return states


def main():
    w, pixels = Weights(33), picture(16)
    expected = vision_model(w, pixels, 'model.vision.', width=16, layers=2, heads=4, mlp=40, patch=4)
    write(out_folder(), 'cogvlm', w, {'architectures': ['CogVLMForCausalLM'], 'vision_config': {'dropout_prob': 0.0, 'hidden_act': 'gelu', 'hidden_size': 16, 'image_size': 16, 'in_channels': 3, 'intermediate_size': 40, 'layer_norm_eps': EPS, 'num_heads': 4, 'num_hidden_layers': 2, 'num_positions': 17, 'patch_size': 4}},
          {'pixel_values': pixels, **expected}, others=[('model.vision.linear_proj.linear_proj.weight', (24, 16)), ('model.vision.boi', (1, 1, 24)), ('model.vision.eoi', (1, 1, 24)), ('model.norm.weight', (24,))])


main()
