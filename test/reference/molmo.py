"""Molmo's picture tower (arXiv 2409.17146; allenai/Molmo-7B-D-0924, modeling_molmo.py): python3 molmo.py [OUT].

OpenAI's ViT with other names. Patches come flattened, (row, column, channel), into a linear layer without bias; what the
language model gets are hidden states, so there is no final norm.
"""
import torch
from tiny import ACT, Weights, attended, out_folder, picture, write


def vision_model(w, pixels, prefix, width, layers, heads, mlp, patch, eps=1e-5):
    grid = pixels.shape[-1] // patch
    rows = pixels[:, :, :grid * patch, :grid * patch].permute(0, 2, 3, 1).reshape(1, grid, patch, grid, patch, 3).permute(0, 1, 3, 2, 4, 5).reshape(1, grid * grid, patch * patch * 3)
    x = w.linear(rows, f'{prefix}patch_embedding', width, bias=False)
    x = torch.cat([w(f'{prefix}class_embedding', width).expand(1, 1, -1), x], 1) + w(f'{prefix}positional_embedding', grid * grid + 1, width)
    x = w.layer_norm(x, f'{prefix}pre_ln', eps)
    states = {'embeddings': x}
    for n in range(layers):
        at = f'{prefix}transformer.resblocks.{n}.'
        y = w.layer_norm(x, at + 'attention_norm', eps)
        q, k, v = (w.linear(y, f'{at}attention.w{name}', width) for name in 'qkv')
        x = x + w.linear(attended(states, n, q, k, v, heads), at + 'attention.wo', width)
        y = w.layer_norm(x, at + 'ffn_norm', eps)
        x = x + w.linear(ACT['quick_gelu'](w.linear(y, at + 'feed_forward.w1', mlp)), at + 'feed_forward.w2', width)
        states[f'hidden_states.{n}'] = x
    states['features'] = x
    return states


def main():
    w, pixels = Weights(32), picture(16)
    expected = vision_model(w, pixels, 'model.vision_backbone.image_vit.', width=16, layers=2, heads=4, mlp=40, patch=4)
    # Published configs say nothing about the tower; these sizes are no published model's.
    write(out_folder(), 'molmo', w, {'architectures': ['MolmoForCausalLM'], 'model_type': 'molmo', 'vision_backbone': {'image_emb_dim': 16, 'image_num_layers': 2, 'image_num_heads': 4, 'image_mlp_dim': 40, 'image_patch_size': 4, 'image_default_input_size': 16}},
          {'pixel_values': pixels, **expected}, others=[('model.vision_backbone.pad_embed', (2, 32)), ('model.vision_backbone.image_pooling_2d.wq.weight', (16, 32)), ('model.vision_backbone.image_projector.w1.weight', (16, 16)), ('model.transformer.ln_f.weight', (16,))])


main()
