// The state dict of a Qwen-VL checkpoint of any size: keys and shapes, in the order in which the model defines them.

/** Qwen-VL-Chat itself. */
export const FULL_SIZE = {
  hidden: 4096, layers: 32, heads: 32, intermediate: 22016, vocabulary: 151936,
  visual: { width: 1664, layers: 48, heads: 16, mlp: 8192, patch: 14, imageSize: 448, output: 4096, queries: 256 },
};

/** The same architecture in 3 MB. */
export const DEMO_SIZE = {
  hidden: 128, layers: 4, heads: 1, intermediate: 512, vocabulary: 2048,
  visual: { width: 64, layers: 4, heads: 4, mlp: 256, patch: 14, imageSize: 448, output: 128, queries: 256 },
};

/** Small enough to come with the extension: half a megabyte. */
export const SAMPLE_SIZE = {
  hidden: 64, layers: 2, heads: 1, intermediate: 256, vocabulary: 512,
  visual: { width: 32, layers: 2, heads: 4, mlp: 128, patch: 14, imageSize: 448, output: 128, queries: 256 },
};

const affine = (path, size) => [[`${path}.weight`, [size]], [`${path}.bias`, [size]]];
const linear = (path, inputs, outputs) => [[`${path}.weight`, [outputs, inputs]], [`${path}.bias`, [outputs]]];
const numbered = (count, entries) => Array.from({ length: count }, (_, index) => entries(index)).flat();

/** The encoder's own keys and shapes, `proj` included. */
function visualTensors({ width, layers, mlp, patch, output, queries }) {
  return [
    ['positional_embedding', [256, width]],
    ['proj', [output, output]],
    ['conv1.weight', [width, 3, patch, patch]],
    ...affine('ln_pre', width),
    ...numbered(layers, index => {
      const block = `transformer.resblocks.${index}`;
      return [
        ...affine(`${block}.ln_1`, width),
        ...affine(`${block}.ln_2`, width),
        ...linear(`${block}.attn.in_proj`, width, 3 * width),
        ...linear(`${block}.attn.out_proj`, width, width),
        ...linear(`${block}.mlp.c_fc`, width, mlp),
        ...linear(`${block}.mlp.c_proj`, mlp, width),
      ];
    }),
    ['attn_pool.pos_embed', [queries, output]],
    ['attn_pool.query', [queries, output]],
    ...(width === output ? [] : [['attn_pool.kv_proj.weight', [output, width]]]),
    ['attn_pool.attn.in_proj_weight', [3 * output, output]],
    ['attn_pool.attn.in_proj_bias', [3 * output]],
    ...linear('attn_pool.attn.out_proj', output, output),
    ...affine('attn_pool.ln_q', output),
    ...affine('attn_pool.ln_kv', output),
    ...affine('ln_post', output),
  ];
}

/** @returns {{ key: string, shape: number[] }[]} */
export function tensorsOf({ hidden, layers, intermediate, vocabulary, visual }) {
  const gated = intermediate / 2; // Qwen's MLP splits its intermediate size between the gate and what it gates
  const tensors = [
    ['transformer.wte.weight', [vocabulary, hidden]],
    ...numbered(layers, index => {
      const block = `transformer.h.${index}`;
      return [
        [`${block}.ln_1.weight`, [hidden]],
        ...linear(`${block}.attn.c_attn`, hidden, 3 * hidden),
        [`${block}.attn.c_proj.weight`, [hidden, hidden]],
        [`${block}.ln_2.weight`, [hidden]],
        [`${block}.mlp.w1.weight`, [gated, hidden]],
        [`${block}.mlp.w2.weight`, [gated, hidden]],
        [`${block}.mlp.c_proj.weight`, [hidden, gated]],
      ];
    }),
    ['transformer.ln_f.weight', [hidden]],
    ...visualTensors(visual).map(([key, shape]) => [`transformer.visual.${key}`, shape]),
    ['lm_head.weight', [vocabulary, hidden]],
  ];
  return tensors.map(([key, shape]) => ({ key, shape }));
}

/** The whole model's config.json. */
export function modelConfig({ hidden, layers, heads, intermediate, vocabulary, visual }) {
  return {
    architectures: ['QWenLMHeadModel'],
    model_type: 'qwen',
    hidden_size: hidden,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    intermediate_size: intermediate,
    vocab_size: vocabulary,
    torch_dtype: 'bfloat16',
    visual: {
      heads: visual.heads,
      image_size: visual.imageSize,
      image_start_id: vocabulary - 79,
      layers: visual.layers,
      mlp_ratio: Math.ceil(visual.mlp / visual.width * 1e4) / 1e4, // rounded up, because the model takes int(width * mlp_ratio)
      output_dim: visual.output,
      patch_size: visual.patch,
      width: visual.width,
    },
  };
}

/** The encoder alone in CLIP's words, as training code asks for it: without output_dim, and with CLIP's own image size. */
export function encoderConfig({ visual }) {
  return {
    architectures: ['CLIPModel'],
    model_type: 'clip',
    projection_dim: 1280,
    vision_config: {
      model_type: 'clip_vision_model',
      hidden_size: visual.width,
      intermediate_size: visual.mlp,
      num_hidden_layers: visual.layers,
      num_attention_heads: visual.heads,
      patch_size: visual.patch,
      image_size: 224,
      hidden_act: 'gelu',
    },
  };
}

/** CLIP's mean and standard deviation, at the encoder's image size. */
export function preprocessorConfig({ visual }) {
  return {
    crop_size: visual.imageSize,
    do_center_crop: true,
    do_normalize: true,
    do_resize: true,
    feature_extractor_type: 'CLIPFeatureExtractor',
    image_mean: [0.48145466, 0.4578275, 0.40821073],
    image_std: [0.26862954, 0.26130258, 0.27577711],
    resample: 3,
    size: visual.imageSize,
  };
}
