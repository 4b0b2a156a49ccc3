"""Stands for OpenCLIP's module of this name: the independent definition in test/reference, by OpenCLIP's config."""
import importlib.util
import pathlib
from torch import nn

spec = importlib.util.spec_from_file_location('reference_open_clip', pathlib.Path(__file__).parents[2] / 'open_clip.py')
reference = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reference)


def _build_vision_tower(embed_dim, vision_cfg, quick_gelu=False):
    c = vision_cfg
    return reference.VisionTransformer(
        image=c['image_size'], patch=c['patch_size'], width=c['width'], layers=c['layers'], heads=c['width'] // c['head_width'], mlp=int(c['width'] * c['mlp_ratio']), output=embed_dim,
        act=reference.QuickGELU if quick_gelu else nn.GELU, scale=c.get('ls_init_value') is not None,
        pool=(c['attn_pooler_heads'], c['attn_pooler_queries']) if c.get('attentional_pool') else None)
