"""DINOv2 (arXiv 2304.07193), with registers (arXiv 2309.16588): python3 dinov2.py [OUT].

facebookresearch/dinov2's DinoVisionTransformer: the class token has a position, registers, which follow it, have none;
sub-layers are scaled by learnt vectors; the final norm is over every token. SwiGLU splits one layer's output in gate and value.
"""
import torch
from tiny import Weights, attended, out_folder, picture, write

HF = {'cls': 'embeddings.cls_token', 'mask': 'embeddings.mask_token', 'registers': 'embeddings.register_tokens', 'pos': 'embeddings.position_embeddings', 'patch': 'embeddings.patch_embeddings.projection',
      'block': 'encoder.layer.{}.', 'q': 'attention.attention.query', 'k': 'attention.attention.key', 'v': 'attention.attention.value', 'out': 'attention.output.dense',
      'ls1': 'layer_scale1.lambda1', 'ls2': 'layer_scale2.lambda1', 'w12': 'mlp.weights_in', 'w3': 'mlp.weights_out', 'norm': 'layernorm'}
META = {'cls': 'cls_token', 'mask': 'mask_token', 'registers': 'register_tokens', 'pos': 'pos_embed', 'patch': 'patch_embed.proj',
        'block': 'blocks.{}.', 'qkv': 'attn.qkv', 'out': 'attn.proj', 'ls1': 'ls1.gamma', 'ls2': 'ls2.gamma', 'w12': 'mlp.w12', 'w3': 'mlp.w3', 'norm': 'norm'}
MEMORY = {**HF, 'q': 'attention.q_proj', 'k': 'attention.k_proj', 'v': 'attention.v_proj', 'out': 'attention.o_proj'}


def vision_model(w, pixels, names, width, layers, heads, patch, registers=0, swiglu=None, prefix='', eps=1e-6, qkv_bias=True):
    grid = pixels.shape[-1] // patch
    x = w.patches(pixels, prefix + names['patch'], width, patch, bias=True)
    w(prefix + names['mask'], 1, width)
    x = torch.cat([w(prefix + names['cls'], 1, 1, width), x], 1) + w(prefix + names['pos'], 1, grid * grid + 1, width)
    if registers:
        x = torch.cat([x[:, :1], w(prefix + names['registers'], 1, registers, width), x[:, 1:]], 1)
    states = {'embeddings': x}
    for n in range(layers):
        at = prefix + names['block'].format(n)
        y = w.layer_norm(x, at + 'norm1', eps)
        if 'qkv' in names:
            q, k, v = w.linear(y, at + names['qkv'], 3 * width, qkv_bias).chunk(3, -1)
        else:
            q, k, v = (w.linear(y, at + names[name], width, qkv_bias) for name in 'qkv')
        x = x + w(at + names['ls1'], width, around=0.5) * w.linear(attended(states, n, q, k, v, heads), at + names['out'], width)
        y = w.layer_norm(x, at + 'norm2', eps)
        if swiglu is None:
            y = w.linear(torch.nn.functional.gelu(w.linear(y, at + 'mlp.fc1', 2 * width)), at + 'mlp.fc2', width)
        elif names is MEMORY:
            gate, value = (w.linear(y, f'{at}mlp.{name}_proj', swiglu) for name in ('gate', 'up'))
            y = w.linear(torch.nn.functional.silu(gate) * value, at + 'mlp.down_proj', width)
        else:
            gate, value = w.linear(y, at + names['w12'], 2 * swiglu).chunk(2, -1)
            y = w.linear(torch.nn.functional.silu(gate) * value, at + names['w3'], width)
        x = x + w(at + names['ls2'], width, around=0.5) * y
        states[f'hidden_states.{n}'] = x
    x = states['features'] = w.layer_norm(x, prefix + names['norm'], eps)
    states['pooled'] = x[:, 0]
    return states


def main():
    out = out_folder()
    sizes = {'width': 16, 'layers': 2, 'heads': 4, 'patch': 4}
    fields = {'hidden_size': 16, 'num_hidden_layers': 2, 'num_attention_heads': 4, 'patch_size': 4, 'image_size': 20, 'mlp_ratio': 2}
    # int(width * ratio) * 2 / 3 in eights: 32 -> 24.
    swiglu = (int(32 * 2 / 3) + 7) // 8 * 8
    w, pixels = Weights(6), picture(20)
    write(out, 'dinov2', w, {'architectures': ['Dinov2Model'], 'model_type': 'dinov2', **fields}, {'pixel_values': pixels, **vision_model(w, pixels, HF, **sizes)})
    w = Weights(7)
    expected = vision_model(w, pixels, HF, **sizes, registers=3, swiglu=swiglu, prefix='dinov2_with_registers.')
    write(out, 'dinov2-registers', w, {'architectures': ['Dinov2WithRegistersForImageClassification'], 'model_type': 'dinov2_with_registers', **fields, 'num_register_tokens': 3, 'use_swiglu_ffn': True},
          {'pixel_values': pixels, **expected}, others=[('classifier.weight', (10, 32)), ('classifier.bias', (10,))])
    w = Weights(8)
    expected = vision_model(w, pixels, MEMORY, **sizes, swiglu=swiglu, qkv_bias=False)
    write(out, 'dinov2-v5', w, {'architectures': ['Dinov2Model'], 'model_type': 'dinov2', **fields, 'use_swiglu_ffn': True, 'qkv_bias': False}, {'pixel_values': pixels, **expected})
    w = Weights(9)
    expected = vision_model(w, pixels, META, **sizes, registers=2, swiglu=swiglu)
    write(out, 'dinov2-meta', w, {'model_type': 'dinov2_with_registers', **fields, 'num_register_tokens': 2, 'use_swiglu_ffn': True}, {'pixel_values': pixels, **expected}, file='dinov2_tiny_reg.pth')


if __name__ == '__main__':
    main()
