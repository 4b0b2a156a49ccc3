import type { ForwardGraph } from './forwardGraph';
import type { GraphSpec } from './graphSpec';
import { qwenVlGraph } from './qwenVlGraph';
import { vitGraph } from './vitGraph';

export function forwardGraph(spec: GraphSpec): ForwardGraph {
  switch (spec.kind) {
    case 'qwen-vl': return qwenVlGraph(spec.sizes);
    case 'vit': return vitGraph(spec);
  }
}
