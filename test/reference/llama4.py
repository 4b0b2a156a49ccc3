"""Llama 4's encoder: python3 llama4.py [OUT].

As transformers runs it (models/llama4/modeling_llama4.py): patches are unfolded (channel, row, column) into a linear layer; the
class token stands after the patches and has the last row of the table of positions; neighbouring channels of queries and keys are
complex numbers, the first half of which is turned by the patch's column and the second by its row, both counted from one, and the
class token by nothing; LayerNorm with PyTorch's epsilon and the exact GELU, whatever the config says. The adapter makes
`merged` of the patches among `features`: its pixel shuffle puts 2 x 2 of them side by side; a projector beside the encoder follows. Expected states have the class token first.
"""
import torch
from tiny import Weights, attention, out_folder, picture, write


def factors(side, dim, theta):
    """Complex (side * side + 1, dim / 2)."""
    axis = dim // 2
    frequencies = theta ** -(torch.arange(0, axis, 2).double() / axis)
    tokens = torch.arange(side * side)
    angles = torch.cat([(tokens % side + 1)[:, None] * frequencies, (tokens // side + 1)[:, None] * frequencies], 1)
    angles = torch.cat([angles, torch.zeros_like(angles[:1])])
    return torch.polar(torch.ones_like(angles), angles)


def turned(x, turn, heads):
    """x (1, tokens, width)."""
    pairs = torch.view_as_complex(x.reshape(x.shape[1], heads, -1, 2))
    return torch.view_as_real(pairs * turn[:, None]).reshape(x.shape)


def encoder(w, pixels, prefix, width, layers, heads, mlp, patch, theta, adapter, maps=()):
    side = pixels.shape[-1] // patch
    unfolded = torch.nn.functional.unfold(pixels, patch, stride=patch).transpose(1, 2)
    x = w.linear(unfolded, f'{prefix}patch_embedding.linear', width, bias=False)
    x = torch.cat([x, w(f'{prefix}class_embedding', width).reshape(1, 1, width)], 1)
    x = x + w(f'{prefix}positional_embedding_vlm', side * side + 1, width)
    x = w.layer_norm(x, f'{prefix}layernorm_pre', 1e-5)
    turn = factors(side, width // heads, theta)

    def class_first(state):
        return state.roll(1, 1)
    states = {'embeddings': class_first(x)}
    for n in range(layers):
        at = f'{prefix}model.layers.{n}.'
        y = w.layer_norm(x, at + 'input_layernorm', 1e-5)
        q, k, v = (w.linear(y, f'{at}self_attn.{name}_proj', width) for name in 'qkv')
        context, attended = attention(turned(q, turn, heads), turned(k, turn, heads), v, heads)
        for head in [head for layer, head in maps if layer == n]:
            states[f'attentions.{n}.{head}'] = attended[:, head].roll((1, 1), (1, 2))
        x = x + w.linear(context, f'{at}self_attn.o_proj', width)
        y = w.layer_norm(x, at + 'post_attention_layernorm', 1e-5)
        x = x + w.linear(torch.nn.functional.gelu(w.linear(y, at + 'mlp.fc1', mlp)), at + 'mlp.fc2', width)
        states[f'hidden_states.{n}'] = class_first(x)
    x = w.layer_norm(x, f'{prefix}layernorm_post', 1e-5)
    states['features'] = class_first(x)
    # As the class shuffles: pairs of columns, then, with the axes exchanged, pairs of rows.
    y = x[:, :-1].reshape(1, side, side // 2, 2 * width).permute(0, 2, 1, 3).reshape(1, side // 2, side // 2, 4 * width).permute(0, 2, 1, 3).reshape(1, -1, 4 * width)
    y = torch.nn.functional.gelu(w.linear(y, f'{prefix}vision_adapter.mlp.fc1', adapter, bias=False))
    y = torch.nn.functional.gelu(w.linear(y, f'{prefix}vision_adapter.mlp.fc2', adapter, bias=False))
    states['merged'] = w.linear(y, 'multi_modal_projector.linear_1', 12, bias=False)
    return states


def main():
    w = Weights(80)
    pixels = picture(24)
    expected = encoder(w, pixels, 'vision_model.', width=16, layers=2, heads=2, mlp=64, patch=4, theta=10000.0, adapter=10, maps=[(1, 1)])
    # A sparse config, whose norm_eps and hidden_act the class does not read.
    config = {'architectures': ['Llama4ForConditionalGeneration'], 'model_type': 'llama4', 'text_config': {'model_type': 'llama4_text', 'hidden_size': 12}, 'vision_config': {
        'model_type': 'llama4_vision_model', 'hidden_size': 16, 'intermediate_size': 64, 'num_hidden_layers': 2, 'num_attention_heads': 2, 'patch_size': 4, 'image_size': 24,
        'norm_eps': 0.1, 'hidden_act': 'relu', 'projector_input_dim': 10, 'projector_output_dim': 10, 'vision_output_dim': 10}}
    write(out_folder(), 'llama4', w, config, {'pixel_values': pixels, **expected}, others=[('language_model.model.norm.weight', (12,))])


main()
