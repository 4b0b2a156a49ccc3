"""VisionTransformer of timm (timm/models/vision_transformer.py): python3 timm_vit.py [OUT].

With SigLIP's head as timm has it, AttentionPoolLatent (timm/layers/attention_pool.py): a latent is projected to the query, keys
and values come stacked of one layer, then y = a + MLP(norm(a)). With class token and registers, as DINOv2 has them there, only
patches have positions (no_embed_class), or the class token too. CLIP's towers have a norm before the blocks, no bias in the patch
embedding, PyTorch's epsilon, and OpenAI's the quick GELU.
"""
import torch
from tiny import ACT, Weights, attended, attention, out_folder, picture, put_pool_weights, write

EPS = 1e-6


def vision_model(w, pixels, prefix, width, layers, heads, mlp, patch, classes=0, registers=0, placed=0, scale=False, head=False, clip=False, act='gelu', EPS=EPS):
    gelu, grid = ACT[act], pixels.shape[-1] // patch
    x = w.patches(pixels, f'{prefix}patch_embed.proj', width, patch, bias=not clip)
    before = ([w(f'{prefix}cls_token', 1, 1, width)] if classes else []) + ([w(f'{prefix}reg_token', 1, registers, width)] if registers else [])
    positions = w(f'{prefix}pos_embed', 1, grid * grid + placed, width)
    # timm's order: with places for the tokens before, they are joined first.
    joined = [torch.cat([*before, x], 1)] if before else [x]
    if placed:
        assert placed == joined[0].shape[1] - grid * grid
        x = joined[0] + positions
    else:
        x = torch.cat([*before, x + positions], 1)
    if clip:
        x = w.layer_norm(x, f'{prefix}norm_pre', EPS)
    states = {'embeddings': x}
    for n in range(layers):
        at = f'{prefix}blocks.{n}.'
        q, k, v = w.linear(w.layer_norm(x, at + 'norm1', EPS), at + 'attn.qkv', 3 * width).chunk(3, -1)
        y = w.linear(attended(states, n, q, k, v, heads), at + 'attn.proj', width)
        x = x + (y * w(at + 'ls1.gamma', width, around=0.5) if scale else y)
        y = w.linear(gelu(w.linear(w.layer_norm(x, at + 'norm2', EPS), at + 'mlp.fc1', mlp)), at + 'mlp.fc2', width)
        x = x + (y * w(at + 'ls2.gamma', width, around=0.5) if scale else y)
        states[f'hidden_states.{n}'] = x
    x = states['features'] = w.layer_norm(x, f'{prefix}norm', EPS)
    if head:
        at = f'{prefix}attn_pool.'
        q = w.linear(w(at + 'latent', 1, 1, width), at + 'q', width)
        k, v = w.linear(x, at + 'kv', 2 * width).chunk(2, -1)
        gathered, weights = attention(q, k, v, heads)
        gathered = w.linear(gathered, at + 'proj', width)
        y = w.layer_norm(gathered, at + 'norm', EPS)
        states['pooled'] = (gathered + w.linear(gelu(w.linear(y, at + 'mlp.fc1', mlp)), at + 'mlp.fc2', width))[:, 0]
        put_pool_weights(states, weights)
    elif classes:
        states['pooled'] = x[:, 0]
    return states


def main():
    out = out_folder()
    sizes = {'width': 16, 'layers': 2, 'heads': 4, 'mlp': 40, 'patch': 4}
    fields = {'width': 16, 'layers': 2, 'heads': 4, 'mlp_ratio': 2.5, 'patch_size': 4}
    # DeepSeek-VL2's SigLIP.
    w, pixels = Weights(34), picture(16)
    write(out, 'timm-vit', w, {'architectures': ['DeepseekVLV2ForCausalLM'], 'model_type': 'deepseek_vl_v2', 'vision_config': {'model_type': 'vision', **fields, 'image_size': 16}},
          {'pixel_values': pixels, **vision_model(w, pixels, 'vision.', **sizes, head=True)}, others=[('projector.layers.0.weight', (16, 16)), ('image_newline', (16,)), ('language.norm.weight', (16,))])
    # Prismatic's DINOv2: registers, and positions for patches only.
    w, pixels = Weights(35), picture(18)
    write(out, 'timm-vit-registers', w, {'vision_config': {**fields, 'image_size': 18}},
          {'pixel_values': pixels, **vision_model(w, pixels, 'vision_backbone.dino_featurizer.', **sizes, classes=1, registers=4, scale=True)}, others=[('projector.fc1.weight', (16, 16)), ('language_model.model.norm.weight', (16,))])
    # Class token and registers, all with a position.
    w, pixels = Weights(36), picture(16)
    write(out, 'timm-vit-placed', w, {'vision_config': {**fields, 'image_size': 16}}, {'pixel_values': pixels, **vision_model(w, pixels, 'visual.trunk.', **sizes, classes=1, registers=2, placed=3)})
    # OpenAI's CLIP in a Prismatic model.
    w, pixels = Weights(37), picture(16)
    write(out, 'timm-vit-clip', w, {'vision_config': {**fields, 'image_size': 16, 'quick_gelu': True}},
          {'pixel_values': pixels, **vision_model(w, pixels, 'vision_backbone.featurizer.', **sizes, classes=1, placed=1, clip=True, act='quick_gelu', EPS=1e-5)}, others=[('projector.fc1.weight', (16, 16)), ('language_model.model.norm.weight', (16,))])


main()
