"""What the references of the families share: tiny random checkpoints, and files that need no package but torch.

Each reference writes `OUT/<variant>/` with a checkpoint in the family's real key layout, its config.json, and
`expected/outputs.safetensors`: `pixel_values`, `embeddings`, `hidden_states.N` (after block N), `attentions.N.H` (the probabilities
of one head in each block), `features`, and where the family has them `pooled`, `projected`, `merged` (what a projector beside it gives), `attn_pool.weights` (the mean over the
heads) and `attn_pool.head_weights`, computed in float64 from the float32 weights.
"""
import json
import os
import sys

import numpy
import torch


class Weights(dict):
    """A state dict whose tensors are drawn at random as they are first asked for; `self(key, *shape)` is in float64."""

    def __init__(self, seed):
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, key, *shape, scale=None, around=0.0):
        if key not in self:
            if scale is None:
                scale = shape[-1] ** -0.5 if len(shape) == 2 else 0.2
            self[key] = (around + scale * torch.randn(*shape, generator=self.generator)).float()
        assert tuple(self[key].shape) == shape, key
        return self[key].double()

    def linear(self, x, path, out, bias=True):
        y = x @ self(f'{path}.weight', out, x.shape[-1]).T
        return y + self(f'{path}.bias', out) if bias else y

    def layer_norm(self, x, path, eps):
        width = x.shape[-1]
        return torch.nn.functional.layer_norm(x, (width,), self(f'{path}.weight', width, around=1.0), self(f'{path}.bias', width), eps)

    def rms_norm(self, x, path, eps):
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * self(f'{path}.weight', x.shape[-1], around=1.0)

    def patches(self, pixels, path, width, patch, bias):
        """(batch, patches, width), row by row."""
        kernel = self(f'{path}.weight', width, 3, patch, patch, scale=(3 * patch * patch) ** -0.5)
        y = torch.nn.functional.conv2d(pixels, kernel, self(f'{path}.bias', width) if bias else None, stride=patch)
        return y.flatten(2).transpose(1, 2)


def attention(q, k, v, heads, mask=None):
    """Scaled dot product attention of (batch, rows, width) and (batch, tokens, width): context and (batch, heads, rows, tokens)."""
    def split(x):
        return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)
    scores = split(q) @ split(k).transpose(-1, -2) / (q.shape[-1] // heads) ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, float('-inf'))
    weights = scores.softmax(-1)
    return (weights @ split(v)).transpose(1, 2).reshape(q.shape), weights


def attended(states, layer, q, k, v, heads):
    """A block's context; the map of one head, another in each block, is put among the states."""
    context, weights = attention(q, k, v, heads)
    head = (layer + 1) % heads
    states[f'attentions.{layer}.{head}'] = weights[:, head]
    return context


def hidden_states(states):
    """As transformers counts them: what goes into the first block, then what comes out of each."""
    return [states['embeddings']] + [states[name] for name in sorted(name for name in states if name.startswith('hidden_states.'))]


def put_pool_weights(states, weights):
    """Of an attention pool, (batch, heads, queries, tokens)."""
    states['attn_pool.weights'] = weights.mean(1)
    states['attn_pool.head_weights'] = weights


ACT = {
    'gelu': torch.nn.functional.gelu,
    'gelu_pytorch_tanh': lambda x: 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x ** 3))),
    'quick_gelu': lambda x: x * torch.sigmoid(1.702 * x),
    'silu': torch.nn.functional.silu,
}


def picture(height, width=None, seed=7):
    """Pixels of 256 levels, normalised with mean 1/2 and deviation 1/4: there is a PNG for each."""
    levels = torch.randint(256, (1, 3, height, width or height), generator=torch.Generator().manual_seed(seed))
    return ((levels.double() / 255 - 0.5) / 0.25).float().double()


def write(out, variant, weights, config, expected, file='model.safetensors', config_name='config.json', others=()):
    """`others` are keys, with shapes, of what surrounds the encoder in a whole model."""
    folder = os.path.join(out, variant)
    os.makedirs(folder, exist_ok=True)
    state = dict(weights)
    for key, shape in others:
        state[key] = torch.zeros(shape)
    if file.endswith('.safetensors'):
        safetensors(os.path.join(folder, file), state)
    else:
        torch.save(state, os.path.join(folder, file))
    with open(os.path.join(folder, config_name), 'w') as f:
        json.dump(config, f, indent=2)
        f.write('\n')
    os.makedirs(os.path.join(folder, 'expected'), exist_ok=True)
    safetensors(os.path.join(folder, 'expected', 'outputs.safetensors'), {key: value.float() for key, value in expected.items()})


TYPES = {torch.float16: 'F16', torch.float32: 'F32', torch.int64: 'I64'}


def safetensors(path, tensors):
    header, data, offset = {}, [], 0
    for key, tensor in tensors.items():
        raw = tensor.detach().contiguous().numpy().tobytes()
        header[key] = {'dtype': TYPES[tensor.dtype], 'shape': list(tensor.shape), 'data_offsets': [offset, offset + len(raw)]}
        data.append(raw)
        offset += len(raw)
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as f:
        f.write(numpy.array([len(text)], '<u8').tobytes() + text + b''.join(data))


def out_folder():
    return sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), '..', 'fixtures', 'families')
