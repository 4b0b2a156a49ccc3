"""OpenAI's VisionTransformer (openai/CLIP, clip/model.py; OpenCLIP's transformer.py): python3 open_clip.py [OUT].

Built of torch.nn modules as the original is, nn.MultiheadAttention among them, so that the fused in_proj is PyTorch's own.
"""
from collections import OrderedDict

import torch
from torch import nn
from tiny import out_folder, picture, put_pool_weights, write


class QuickGELU(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


class LayerScale(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x * self.gamma


class Block(nn.Module):
    def __init__(self, width, heads, mlp, act, scale):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads)
        self.ls_1 = LayerScale(width) if scale else nn.Identity()
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(OrderedDict(c_fc=nn.Linear(width, mlp), gelu=act(), c_proj=nn.Linear(mlp, width)))
        self.ls_2 = LayerScale(width) if scale else nn.Identity()

    def forward(self, x):
        y = self.ln_1(x)
        y, weights = self.attn(y, y, y, average_attn_weights=False)
        x = x + self.ls_1(y)
        return x + self.ls_2(self.mlp(self.ln_2(x))), weights


class Transformer(nn.Module):
    def __init__(self, width, layers, heads, mlp, act, scale):
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads, mlp, act, scale) for _ in range(layers))


class AttentionalPooler(nn.Module):
    """CoCa's (arXiv 2205.01917) as OpenCLIP has it: learnt queries of the output's width attend to the tokens."""

    def __init__(self, output, width, heads, queries):
        super().__init__()
        self.query = nn.Parameter(torch.zeros(queries, output))
        self.attn = nn.MultiheadAttention(output, heads, kdim=width, vdim=width, batch_first=True)
        self.ln_q = nn.LayerNorm(output)
        self.ln_k = nn.LayerNorm(width)

    def forward(self, x):
        x = self.ln_k(x)
        return self.attn(self.ln_q(self.query).expand(x.shape[0], -1, -1), x, x, average_attn_weights=False)


class VisionTransformer(nn.Module):
    def __init__(self, image, patch, width, layers, heads, mlp, output, act, scale, pool=None):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.positional_embedding = nn.Parameter(torch.zeros((image // patch) ** 2 + 1, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, layers, heads, mlp, act, scale)
        self.attn_pool = None if pool is None else AttentionalPooler(output, width, *pool)
        self.ln_post = nn.LayerNorm(width if pool is None else output)
        self.proj = nn.Parameter(torch.zeros(width if pool is None else output, output))

    def forward(self, x):
        states = OrderedDict()
        x = self.conv1(x).flatten(2).permute(0, 2, 1)
        x = torch.cat([self.class_embedding.expand(x.shape[0], 1, -1), x], 1) + self.positional_embedding
        x = states['embeddings'] = self.ln_pre(x)
        x = x.permute(1, 0, 2)
        for n, block in enumerate(self.transformer.resblocks):
            x, weights = block(x)
            head = (n + 1) % weights.shape[1]
            states[f'attentions.{n}.{head}'] = weights[:, head]
            states[f'hidden_states.{n}'] = x.permute(1, 0, 2)
        x = states['features'] = x.permute(1, 0, 2)
        if self.attn_pool is not None:
            x, weights = self.attn_pool(x)
            put_pool_weights(states, weights)
            states['features'] = self.ln_post(x)
        states['pooled'] = self.ln_post(x[:, 0])
        states['projected'] = states['pooled'] @ self.proj
        return states


def make(seed, output=24, **sizes):
    torch.manual_seed(seed)
    model = VisionTransformer(image=16, patch=4, width=16, layers=2, mlp=40, output=output, **sizes)
    for name, parameter in model.named_parameters():
        around = 1.0 if parameter.ndim == 1 and ('ln_' in name or 'gamma' in name) and name.endswith(('weight', 'gamma')) else 0.0
        parameter.data = around + torch.randn_like(parameter) * (0.2 if parameter.ndim < 2 else parameter[0].numel() ** -0.5)
    state = OrderedDict((f'visual.{key}', value.clone()) for key, value in model.state_dict().items())
    pixels = picture(16)
    with torch.no_grad():
        return state, {'pixel_values': pixels, **model.double()(pixels)}


def main():
    out = out_folder()
    text = [('transformer.resblocks.0.attn.in_proj_weight', (24, 8)), ('positional_embedding', (4, 8)), ('logit_scale', ())]
    # LAION's way: GELU, a text tower of the same names at the top.
    state, expected = make(1, heads=2, act=nn.GELU, scale=False)
    write(out, 'open-clip', state, {'model_cfg': {'embed_dim': 24, 'vision_cfg': {'image_size': 16, 'layers': 2, 'width': 16, 'head_width': 8, 'patch_size': 4, 'mlp_ratio': 2.5}}},
          expected, file='open_clip_pytorch_model.bin', config_name='open_clip_config.json', others=text)
    # Quick GELU, layer scale.
    state, expected = make(2, heads=4, act=QuickGELU, scale=True)
    write(out, 'open-clip-quick', state, {'embed_dim': 24, 'quick_gelu': True, 'vision_cfg': {'image_size': 16, 'layers': 2, 'width': 16, 'head_width': 4, 'patch_size': 4, 'mlp_ratio': 2.5, 'ls_init_value': 1e-4}},
          expected, file='model.safetensors', config_name='open_clip_config.json', others=text)

    # CoCa: the pool's width is the encoder's (coca_ViT-B-32), or another (coca_ViT-L-14).
    for variant, seed, output in (('open-clip-coca', 38, 16), ('open-clip-coca-wide', 39, 24)):
        state, expected = make(seed, output=output, heads=2, act=nn.GELU, scale=False, pool=(4, 5))
        config = {'embed_dim': output, 'vision_cfg': {'image_size': 16, 'layers': 2, 'width': 16, 'head_width': 8, 'patch_size': 4, 'mlp_ratio': 2.5, 'attentional_pool': True, 'attn_pooler_heads': 4, 'attn_pooler_queries': 5}}
        write(out, variant, state, config, expected, config_name='open_clip_config.json', others=text)


if __name__ == '__main__':
    main()
