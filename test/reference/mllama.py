"""Llama 3.2 Vision's encoder: python3 mllama.py [OUT].

As transformers runs it (models/mllama: modeling_mllama.py, image_processing_mllama.py). A picture lies on a canvas of square tiles;
all tiles run, those that it does not fill as zeros. Patches get an embedding of their tile in the canvas's layout, then come a class
token per tile, two tables of positions weighted by a gate, a norm, and zeros up to a multiple of 8 tokens. The mask is an outer product: it
hides padding and empty tiles from each other, not from the picture. After the plain blocks come a norm, tile embeddings again, and blocks
whose updates pass gates. The output is the last state and, channel by channel, the inputs of some plain blocks.

Expected states have the idle tokens first (empty tiles and padding, by tile), then class tokens by tile, then patches row by row over the
canvas; features have no idle tokens. The projector is one layer over them.
"""
import torch
from tiny import ACT, Weights, out_folder, picture, write

LAYOUTS = [(1, 1), (1, 2), (1, 3), (1, 4), (2, 1), (2, 2), (3, 1), (4, 1)]


def encoder(w, pixels, prefix, width, layers, gated, heads, mlp, patch, tile, tiles, indices, eps, act, maps=()):
    rows, columns = pixels.shape[2] // tile, pixels.shape[3] // tile
    number, filled, side = 1 + LAYOUTS.index((rows, columns)), rows * columns, tile // patch
    cut = torch.zeros(tiles, 3, tile, tile, dtype=torch.float64)
    for n in range(filled):
        row, column = divmod(n, columns)
        cut[n] = pixels[0, :, row * tile:(row + 1) * tile, column * tile:(column + 1) * tile]
    x = w.patches(cut, f'{prefix}patch_embedding', width, patch, bias=False)

    def tile_embedding(name):
        table = w(f'{prefix}{name}.embedding.weight', len(LAYOUTS) + 1, tiles * width, scale=0.3)
        return w(f'{prefix}{name}.gate', 1, around=0.5).tanh() * table[number].reshape(tiles, 1, width)
    x = x + tile_embedding('pre_tile_positional_embedding')
    x = torch.cat([w(f'{prefix}class_embedding', width).reshape(1, 1, width).expand(tiles, 1, width), x], 1)
    count = side * side + 1
    at = f'{prefix}gated_positional_embedding.'
    gate = w(at + 'gate', 1, around=0.5).tanh()
    table = w(at + 'tile_embedding.weight', len(LAYOUTS) + 1, tiles * count * width, scale=0.3)
    x = x + (1 - gate) * w(at + 'embedding', count, width) + gate * table[number].reshape(tiles, count, width)
    x = w.layer_norm(x, f'{prefix}layernorm_pre', 1e-5)
    padding = -count % 8
    x = torch.nn.functional.pad(x, (0, 0, 0, padding))
    padded = count + padding
    idle = torch.ones(tiles, padded, dtype=torch.bool)
    idle[:filled, :count] = False
    hidden = (idle.reshape(-1, 1) & idle.reshape(1, -1))

    order = [t * padded + n for t in range(tiles) for n in range(padded) if idle[t, n]]
    order += [t * padded for t in range(filled)]
    for row in range(rows * side):
        for column in range(columns * side):
            order.append((row // side * columns + column // side) * padded + 1 + row % side * side + column % side)
    first = int(idle.sum())
    x = x.reshape(1, tiles * padded, width)
    states = {'embeddings': x[:, order]}

    def block(x, at, index, gates):
        y = w.layer_norm(x, at + 'input_layernorm', eps)
        q, k, v = (w.linear(y, f'{at}self_attn.{name}_proj', width, False).reshape(-1, heads, width // heads).transpose(0, 1) for name in 'qkv')
        scores = (q @ k.transpose(1, 2) / (width // heads) ** 0.5).masked_fill(hidden, float('-inf'))
        attended = scores.softmax(-1)
        for head in [head for layer, head in maps if layer == index]:
            states[f'attentions.{index}.{head}'] = attended[head][order][:, order][None]
        y = w.linear((attended @ v).transpose(0, 1).reshape(1, -1, width), at + 'self_attn.o_proj', width, False)
        x = x + (w(at + 'gate_attn', 1, around=0.7).tanh() * y if gates else y)
        y = ACT[act](w.linear(w.layer_norm(x, at + 'post_attention_layernorm', eps), at + 'mlp.fc1', mlp))
        y = w.linear(y, at + 'mlp.fc2', width)
        x = x + (w(at + 'gate_ffn', 1, around=0.7).tanh() * y if gates else y)
        states[f'hidden_states.{index}'] = x[:, order]
        return x
    inputs = [x]
    for n in range(layers):
        x = block(x, f'{prefix}transformer.layers.{n}.', n, False)
        inputs.append(x)
    x = w.layer_norm(x, f'{prefix}layernorm_post', 1e-5)
    x = (x.reshape(tiles, padded, width) + tile_embedding('post_tile_positional_embedding')).reshape(x.shape)
    for n in range(gated):
        x = block(x, f'{prefix}global_transformer.layers.{n}.', layers + n, True)
    between = torch.stack([inputs[index] for index in indices], -1).flatten(2)
    states['features'] = torch.cat([x, between], -1)[:, order][:, first:]
    return states


def main():
    out = out_folder()
    sizes = {'width': 8, 'layers': 3, 'gated': 2, 'heads': 2, 'mlp': 12, 'patch': 4, 'tile': 12, 'tiles': 4}
    fields = {'hidden_size': 8, 'intermediate_size': 12, 'num_hidden_layers': 3, 'num_global_layers': 2, 'attention_heads': 2, 'patch_size': 4, 'image_size': 12}
    # One row of two tiles, inside a whole model; the input of block 1 and the output of the last plain one.
    w, pixels = Weights(90), picture(12, 24)
    expected = encoder(w, pixels, 'vision_model.', **sizes, indices=[1, 3], eps=1e-5, act='gelu', maps=[(3, 0)])
    expected['merged'] = w.linear(expected['features'], 'multi_modal_projector', 12)
    write(out, 'mllama', w, {'architectures': ['MllamaForConditionalGeneration'], 'model_type': 'mllama', 'text_config': {'hidden_size': 12}, 'vision_config': {'model_type': 'mllama_vision_model', **fields, 'intermediate_layers_indices': [1, 3], 'vision_output_dim': 24}},
          {'pixel_values': pixels, **expected}, others=[('language_model.model.norm.weight', (12,))])
    # All four tiles, on its own, with another activation and epsilon. Of the config's layouts only the number counts: processors number them.
    w, pixels = Weights(91), picture(24, 24)
    expected = encoder(w, pixels, '', **sizes, indices=[0, 1, 2], eps=1e-3, act='quick_gelu', maps=[(1, 1)])
    write(out, 'mllama-whole', w, {'architectures': ['MllamaVisionModel'], 'model_type': 'mllama_vision_model', **fields, 'max_num_tiles': 4, 'supported_aspect_ratios': LAYOUTS[::-1],
                                   'intermediate_layers_indices': [0, 1, 2], 'norm_eps': 1e-3, 'hidden_act': 'quick_gelu', 'vision_output_dim': 32}, {'pixel_values': pixels, **expected})


main()
