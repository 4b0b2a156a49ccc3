"""Stands for DeepSpeed-VisualChat's module of this name: the independent definition in test/reference, with its arguments."""
from qwen_vl import VisionTransformer
