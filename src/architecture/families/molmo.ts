import { encoderFamily } from '../encoderFamily';
import { patchValues, positions, size } from '../sizes';
import { module, modules, tensor } from '../vitSpec';
import { shortestEdgeAndCrop } from './preprocessing';

/** The picture tower of Molmo (allenai/Molmo-7B-D, modeling_molmo.py): OpenAI's ViT-L/14-336 without its last block, in OpenCLIP's shape; patches come flattened, channels last. Configs say nothing about it. `features` is the last hidden state, not normed. */
export const molmo = encoderFamily({
  id: 'molmo',
  title: 'Molmo ViT',
  models: 'Molmo',
  support: 'preview',
  sizes: [
    size('width', 'image_emb_dim', 1024),
    size('layers', 'image_num_layers', 23),
    size('heads', 'image_num_heads', 16, { guess: () => 16 }),
    size('mlp_size', 'image_mlp_dim', 4096),
    size('patch_size', 'image_patch_size', 14),
    patchValues(3),
    size('image_size', 'image_default_input_size', 336),
    positions(1),
  ],
  tensors: t => {
    t.add('class_embedding', 'width');
    t.add('positional_embedding', 'positions', 'width');
    t.add('patch_embedding.weight', 'width', 'patch_values');
    t.norm('pre_ln', 'width');
    t.blocks('transformer.resblocks', 'layers', () => {
      for (const name of ['wq', 'wk', 'wv', 'wo']) t.linear(`attention.${name}`, 'width', 'width');
      t.linear('feed_forward.w1', 'mlp_size', 'width');
      t.linear('feed_forward.w2', 'width', 'mlp_size');
      t.norm('attention_norm', 'width');
      t.norm('ffn_norm', 'width');
    });
  },
  anchors: { all: ['pre_ln.weight', 'class_embedding', 'positional_embedding', 'transformer.resblocks.0.attention.wq.weight'] },
  config: { own: {}, places: [['vision_backbone'], ['vit']], looksOwn: object => typeof object.image_emb_dim === 'number', within: { molmo: { type: '', absent: {} } } },
  fields: { image_norm_eps: 1e-5, image_mlp_activations: 'quick_gelu' },
  wrapConfig: fields => ({ vision_backbone: fields }),
  preprocessor: shortestEdgeAndCrop,
  graph: (_, field) => ({
    outer: { ...module('patch', 'patch_embedding'), ...tensor('class', 'class_embedding'), ...tensor('positions', 'positional_embedding'), ...module('preNorm', 'pre_ln') },
    blocks: 'transformer.resblocks',
    block: modules({
      norm1: 'attention_norm', q: 'attention.wq', k: 'attention.wk', v: 'attention.wv', out: 'attention.wo',
      norm2: 'ffn_norm', fc1: 'feed_forward.w1', fc2: 'feed_forward.w2',
    }),
    patchRows: true, epsilon: field('image_norm_eps'), activation: field('image_mlp_activations'),
    finalNorm: { features: false, pooled: false }, pooled: 'none',
  }),
});
