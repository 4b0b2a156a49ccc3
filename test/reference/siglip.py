"""SigLIP's image encoder (arXiv 2303.15343; transformers' SiglipVisionModel): python3 siglip.py [OUT].

No class token, no norm before the blocks; the final norm is over every token. The head is google-research/big_vision's MAPHead:
a learnt probe attends to the tokens, then y = a + MLP(norm(a)); its attention here is torch.nn.functional's own.

The projectors are those of transformers' models gemma3, paligemma, idefics3 (SmolVLM's is the same) and llava_onevision, of which the last
takes hidden states that are not normed, and of LLaVA-NeXT's own code.
"""
import torch
from tiny import ACT, Weights, attended, hidden_states, out_folder, picture, put_pool_weights, write


def vision_model(w, pixels, prefix, width, layers, heads, mlp, patch, head, table=None):
    """`table`: the side of NaFlex's position table."""
    act, eps = ACT['gelu_pytorch_tanh'], 1e-6
    height, columns = pixels.shape[-2] // patch, pixels.shape[-1] // patch
    if table is not None:
        # Siglip2ImageProcessor's convert_image_to_patches: each patch flattened (row, column, channel), into a linear layer.
        rows = pixels.permute(0, 2, 3, 1).reshape(1, height, patch, columns, patch, 3).permute(0, 1, 3, 2, 4, 5).reshape(1, height * columns, patch * patch * 3)
        x = w.linear(rows, f'{prefix}embeddings.patch_embedding', width)
        stored = w(f'{prefix}embeddings.position_embedding.weight', table * table, width)
        resized = torch.nn.functional.interpolate(stored.T.reshape(1, width, table, table), (height, columns), mode='bilinear', align_corners=False, antialias=True)
        x = x + resized.flatten(2).transpose(1, 2)
    else:
        x = w.patches(pixels, f'{prefix}embeddings.patch_embedding', width, patch, bias=True)
        x = x + w(f'{prefix}embeddings.position_embedding.weight', height * columns, width)
    states = {'embeddings': x}
    for n in range(layers):
        at = f'{prefix}encoder.layers.{n}.'
        y = w.layer_norm(x, at + 'layer_norm1', eps)
        q, k, v = (w.linear(y, f'{at}self_attn.{name}_proj', width) for name in 'qkv')
        x = x + w.linear(attended(states, n, q, k, v, heads), at + 'self_attn.out_proj', width)
        y = w.layer_norm(x, at + 'layer_norm2', eps)
        x = x + w.linear(act(w.linear(y, at + 'mlp.fc1', mlp)), at + 'mlp.fc2', width)
        states[f'hidden_states.{n}'] = x
    x = states['features'] = w.layer_norm(x, f'{prefix}post_layernorm', eps)
    if head:
        at = f'{prefix}head.'
        query, tokens = w(at + 'probe', 1, 1, width), x.transpose(0, 1)
        gathered, weights = torch.nn.functional.multi_head_attention_forward(
            query, tokens, tokens, width, heads, w(at + 'attention.in_proj_weight', 3 * width, width), w(at + 'attention.in_proj_bias', 3 * width), None, None, False, 0.0,
            w(at + 'attention.out_proj.weight', width, width), w(at + 'attention.out_proj.bias', width), training=False, average_attn_weights=False)
        gathered = gathered.transpose(0, 1)
        y = w.layer_norm(gathered, at + 'layernorm', eps)
        states['pooled'] = (gathered + w.linear(act(w.linear(y, at + 'mlp.fc1', mlp)), at + 'mlp.fc2', width))[:, 0]
        put_pool_weights(states, weights)
    return states


def main():
    out = out_folder()
    sizes = {'width': 16, 'layers': 2, 'heads': 4, 'mlp': 40, 'patch': 4}
    fields = {'hidden_size': 16, 'intermediate_size': 40, 'num_hidden_layers': 2, 'num_attention_heads': 4, 'patch_size': 4}

    # SiglipModel with its head; the config is sparse.
    w, pixels = Weights(3), picture(16)
    expected = vision_model(w, pixels, 'vision_model.', **sizes, head=True)
    write(out, 'siglip', w, {'architectures': ['SiglipModel'], 'model_type': 'siglip', 'vision_config': {**fields, 'image_size': 16, 'model_type': 'siglip_vision_model'}},
          {'pixel_values': pixels, **expected}, others=[('logit_scale', (1,)), ('logit_bias', (1,)), ('text_model.head.weight', (16, 16))])

    # Gemma 3, without head; 19 / 4 leaves a rim. 4 x 4 patches become 4 tokens.
    w, pixels = Weights(4), picture(19)
    expected = vision_model(w, pixels, 'vision_tower.vision_model.', **sizes, head=False)
    at = 'multi_modal_projector.'
    y = torch.nn.AvgPool2d(2, 2)(expected['features'].transpose(1, 2).reshape(1, 16, 4, 4)).flatten(2).transpose(1, 2)
    y = y * torch.rsqrt((y * y).mean(-1, keepdim=True) + 1e-6) * (1 + w(at + 'mm_soft_emb_norm.weight', 16))
    expected['merged'] = y @ w(at + 'mm_input_projection_weight', 16, 24)
    write(out, 'siglip-gemma3', w, {'architectures': ['Gemma3ForConditionalGeneration'], 'model_type': 'gemma3', 'mm_tokens_per_image': 4, 'text_config': {'hidden_size': 24},
          'vision_config': {**fields, 'image_size': 19, 'model_type': 'siglip_vision_model', 'vision_use_head': False}},
          {'pixel_values': pixels, **expected}, others=[('language_model.model.norm.weight', (24,))])

    # PaliGemma, as a state dict since transformers 5.6 has it.
    w, pixels = Weights(83), picture(16)
    expected = vision_model(w, pixels, 'model.vision_tower.', **sizes, head=False)
    expected['merged'] = w.linear(expected['features'], 'model.multi_modal_projector.linear', 24)
    write(out, 'siglip-paligemma', w, {'architectures': ['PaliGemmaForConditionalGeneration'], 'model_type': 'paligemma', 'projection_dim': 24,
          'vision_config': {**fields, 'image_size': 16, 'model_type': 'siglip_vision_model', 'vision_use_head': False}},
          {'pixel_values': pixels, **expected}, others=[('model.language_model.norm.weight', (24,))])

    # LLaVA-OneVision, whose defaults take the last hidden state before the norm, all tokens of it.
    w, pixels = Weights(84), picture(16)
    expected = vision_model(w, pixels, 'vision_tower.vision_model.', **sizes, head=False)
    y = torch.nn.functional.gelu(w.linear(hidden_states(expected)[-1], 'multi_modal_projector.linear_1', 24))
    expected['merged'] = w.linear(y, 'multi_modal_projector.linear_2', 24)
    write(out, 'siglip-onevision', w, {'architectures': ['LlavaOnevisionForConditionalGeneration'], 'model_type': 'llava_onevision', 'text_config': {'hidden_size': 24},
          'vision_config': {**fields, 'image_size': 16, 'model_type': 'siglip_vision_model', 'vision_use_head': False}},
          {'pixel_values': pixels, **expected}, others=[('image_newline', (24,)), ('language_model.model.norm.weight', (24,))])

    # The same model in LLaVA-NeXT's code, which does not read mm_vision_select_layer here.
    w, pixels = Weights(85), picture(16)
    expected = vision_model(w, pixels, 'model.vision_tower.vision_tower.vision_model.', **sizes, head=False)
    y = torch.nn.functional.gelu(w.linear(hidden_states(expected)[-1], 'model.mm_projector.0', 24))
    expected['merged'] = w.linear(y, 'model.mm_projector.2', 24)
    write(out, 'siglip-llava-original', w, {'architectures': ['LlavaQwenForCausalLM'], 'model_type': 'llava_qwen', 'hidden_size': 24, 'mm_vision_select_layer': -2,
          'vision_config': {**fields, 'image_size': 16, 'model_type': 'siglip_vision_model', 'vision_use_head': False}},
          {'pixel_values': pixels, **expected}, others=[('model.image_newline', (24,)), ('model.embed_tokens.weight', (4, 24))])

    # SmolVLM: names without the level vision_model of its own. The pixel shuffle as the class writes it.
    w, pixels = Weights(5), picture(16)
    expected = vision_model(w, pixels, 'model.vision_model.', **sizes, head=False)
    y = expected['features'].view(1, 4, 4, 16).view(1, 4, 2, 32).permute(0, 2, 1, 3).reshape(1, 2, 2, 64).permute(0, 2, 1, 3).reshape(1, 4, 64)
    expected['merged'] = w.linear(y, 'model.connector.modality_projection.proj', 24, bias=False)
    write(out, 'siglip-smolvlm', w, {'architectures': ['SmolVLMForConditionalGeneration'], 'model_type': 'smolvlm', 'scale_factor': 2, 'text_config': {'hidden_size': 24}, 'vision_config': {**fields, 'image_size': 16, 'model_type': 'smolvlm_vision'}},
          {'pixel_values': pixels, **expected}, others=[('model.text_model.norm.weight', (24,))])

    # SigLIP 2 NaFlex: 7 x 3 patches from a table of 4 x 4, which grows in height and shrinks in width.
    w, pixels = Weights(37), picture(28, 12)
    expected = vision_model(w, pixels, 'vision_model.', **sizes, head=True, table=4)
    write(out, 'siglip2', w, {'architectures': ['Siglip2Model'], 'model_type': 'siglip2', 'vision_config': {**fields, 'num_patches': 16, 'model_type': 'siglip2_vision_model'}},
          {'pixel_values': pixels, **expected}, others=[('logit_scale', (1,)), ('logit_bias', (1,)), ('text_model.head.weight', (16, 16))])


main()
