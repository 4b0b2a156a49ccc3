import type { EncoderStatus, ModelInfo, PanelState } from '../src/protocol';
import { numberBox, segments, slider } from './controls';
import { el } from './dom';
import { isPooled, overlaysFor, sizesAt, viewedLayers } from './state';
import { sayLayer, words } from './words';

type Overlay = PanelState['overlay'];
const OVERLAYS: readonly Overlay[] = ['pca', 'similarity', 'norm', 'attention', 'pool', 'channel', 'difference', 'none'];

/** What is shown of which layer. */
export class Toolbar {
  readonly element = el('section', 'toolbar');
  private model: ModelInfo | undefined;
  private readonly overlay = segments<Overlay>({ label: words.show }, OVERLAYS.map(value => ({ value, label: words.overlays[value], title: words.overlayHints[value] })), overlay => { this.onState({ overlay }); });
  private readonly layer = slider({ label: words.layer }, { min: -1, max: 1, step: 1 }, value => this.model === undefined ? '' : sayLayer(value, this.model), layer => { this.onState({ layer }); });
  private readonly head = slider({ label: words.head }, { min: -1, max: 0, step: 1 }, value => value < 0 ? words.allHeads : words.oneHead(value), value => { this.onState({ head: value < 0 ? null : value }); });
  private readonly query = slider({ label: words.query }, { min: 0, max: 0, step: 1 }, value => words.oneQuery(value), query => { this.onState({ query }); });
  private readonly channel = slider({ label: words.channel }, { min: 0, max: 0, step: 1 }, value => String(value), channel => { this.onState({ channel }); });
  private readonly channelBox = numberBox({ label: words.channel }, { step: 1 }, channel => { this.onState({ channel }); });

  constructor(private readonly onState: (changes: Partial<PanelState>) => void) {
    this.element.setAttribute('aria-label', words.show);
    this.channel.element.append(this.channelBox.input);
    this.channel.element.classList.add('channel');
    this.element.append(this.overlay.element, el('div', 'sliders', this.layer.element, this.head.element, this.query.element, this.channel.element));
  }

  setModel(model: ModelInfo): void {
    this.model = model;
    this.query.setRange(0, Math.max(0, model.queries - 1));
  }

  render(state: PanelState, status: EncoderStatus): void {
    const { model } = this;
    if (model === undefined) return;
    this.overlay.offer(overlaysFor(model, status));
    this.overlay.set(state.overlay);
    this.layer.setRange(-1, Math.max(...viewedLayers(model, status)));
    this.layer.set(state.layer);
    const { heads, width } = sizesAt(state, model);
    this.head.setRange(-1, heads - 1);
    this.head.set(Math.min(state.head ?? -1, heads - 1));
    this.query.set(state.query);
    for (const channel of [this.channel, this.channelBox]) {
      channel.setRange(0, width - 1);
      channel.set(Math.min(state.channel, width - 1));
    }
    const pooled = isPooled(state, model) && state.overlay !== 'difference' && state.overlay !== 'none';
    this.head.show(state.overlay === 'attention' && !pooled);
    this.query.show((state.overlay === 'pool' || pooled) && model.queries > 1);
    this.channel.show(state.overlay === 'channel' && !pooled);
  }
}
