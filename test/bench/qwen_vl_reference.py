"""The encoder in PyTorch, for the bench. Loads it, then runs a batch of N pictures for every line "N" on standard input
and answers with one line of JSON, as encoderWorker.ts does.

Usage: qwen_vl_reference.py FOLDER THREADS
"""
import base64, json, math, resource, struct, sys, time
started = time.perf_counter()
import numpy, torch
import torch.nn.functional as F

folder, threads = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(threads)
with open(folder + '/model.safetensors', 'rb') as f:
    header = json.loads(f.read(struct.unpack('<Q', f.read(8))[0]))
    base = f.tell()
    w = {}
    for key, info in header.items():
        f.seek(base + info['data_offsets'][0])
        raw = numpy.frombuffer(f.read(info['data_offsets'][1] - info['data_offsets'][0]), numpy.uint16)
        w[key] = torch.from_numpy((raw.astype(numpy.uint32) << 16).view(numpy.float32).reshape(info['shape']))
with open(folder + '/config.json') as f:
    c = json.load(f)['visual']
W, H, O = c['width'], c['heads'], c['output_dim']
side = c['image_size'] // c['patch_size']
T = side * side

norm = lambda x, p: F.layer_norm(x, x.shape[-1:], w[p + '.weight'], w[p + '.bias'], 1e-6)
linear = lambda x, p: F.linear(x, w[p + '.weight'], w[p + '.bias'])
split = lambda x, heads: x.view(x.shape[0], -1, heads, x.shape[-1] // heads).transpose(1, 2)

def resize(table):
    n = int(math.sqrt(len(table)))
    if n == side: return table
    return F.interpolate(table.view(1, n, n, -1).permute(0, 3, 1, 2), size=(side, side), mode='bicubic', align_corners=False).permute(0, 2, 3, 1).reshape(T, -1)

def attend(q, k, v): return (torch.softmax(q / math.sqrt(q.shape[-1]) @ k.transpose(-1, -2), -1) @ v).transpose(1, 2).flatten(2)

positions, pool_positions = resize(w['positional_embedding']), resize(w['attn_pool.pos_embed'])

def forward(x):
    x = norm(F.conv2d(x, w['conv1.weight'], stride=c['patch_size']).flatten(2).transpose(1, 2) + positions, 'ln_pre')
    for layer in range(c['layers']):
        p = f'transformer.resblocks.{layer}.'
        q, k, v = split(linear(norm(x, p + 'ln_1'), p + 'attn.in_proj'), H).split(W // H, -1)
        x = x + linear(attend(q, k, v), p + 'attn.out_proj')
        x = x + linear(F.gelu(linear(norm(x, p + 'ln_2'), p + 'mlp.c_fc')), p + 'mlp.c_proj')
    kv = norm(x if W == O else F.linear(x, w['attn_pool.kv_proj.weight']), 'attn_pool.ln_kv')
    q = (norm(w['attn_pool.query'], 'attn_pool.ln_q') + w['attn_pool.pos_embed'])[None]
    heads = max(1, O // 128)
    parts = zip((q, kv + pool_positions, kv), w['attn_pool.attn.in_proj_weight'].chunk(3), w['attn_pool.attn.in_proj_bias'].chunk(3))
    return norm(linear(attend(*(split(F.linear(*part), heads) for part in parts)), 'attn_pool.attn.out_proj'), 'ln_post')

# Which BLAS does the products decides the comparison: Debian's plain libblas is nine times slower than OpenBLAS.
torch.ones(8, 8) @ torch.ones(8, 8)
blas = next((line.split()[-1] for line in open('/proc/self/maps') if 'blas' in line or 'mkl' in line), 'unknown')

def tell(**values): print(json.dumps(values), flush=True)

tell(seconds=time.perf_counter() - started, version=torch.__version__, blas=blas)
size = c['image_size']
picture = numpy.sin(numpy.arange(3 * size * size, dtype=numpy.float64) * 0.37).astype(numpy.float32)
with torch.no_grad():
    for line in sys.stdin:
        pixels = torch.from_numpy(picture).view(1, 3, size, size).repeat(int(line), 1, 1, 1)
        cpu, start = time.process_time(), time.perf_counter()
        features = forward(pixels)
        seconds = time.perf_counter() - start
        tell(seconds=seconds, cpu=time.process_time() - cpu, peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, features=base64.b64encode(features.numpy().tobytes()).decode())
