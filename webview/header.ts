import { runsToEnd } from '../src/previewLimits';
import type { DeviceChoice, EncoderStatus, KeptLayers, ModelInfo } from '../src/protocol';
import { button } from './controls';
import { el } from './dom';
import { sizesOf } from './state';
import { words } from './words';

export interface HeaderEvents {
  onCancel(): void;
  onRestart(device?: DeviceChoice): void;
  onHalfPrecision(): void;
  onKeep(layers: KeptLayers): void;
  onShowLog(): void;
}

/** What runs where, how far it is, and what went wrong with the way out. Its height does not change while it works. */
export class Header {
  readonly element = el('header');
  private readonly title = el('h1');
  private readonly facts = el('span', 'facts');
  private readonly status = el('span', 'status');
  private readonly cancel = button({ label: words.cancel }, () => { this.events.onCancel(); });
  private readonly progress = el('div', 'progress');
  private readonly bar = el('div', 'bar');
  private readonly banner = el('div', 'banner');

  constructor(private readonly events: HeaderEvents) {
    this.status.setAttribute('role', 'status');
    this.progress.setAttribute('role', 'progressbar');
    this.progress.setAttribute('aria-label', words.working);
    this.progress.append(this.bar);
    this.banner.setAttribute('role', 'alert');
    this.element.append(el('div', 'titles', this.title, this.facts), el('div', 'now', this.status, this.cancel), this.progress, this.banner);
  }

  setModel(model: ModelInfo): void {
    const { name, family, layers } = model;
    this.title.textContent = name;
    this.title.title = name;
    const sizes = sizesOf(model);
    this.facts.textContent = words.facts(family, layers, span(sizes.map(({ heads }) => heads)), span(sizes.map(({ width }) => width)));
  }

  render(status: EncoderStatus): void {
    const { state, progress = 0, device } = status;
    const works = state === 'loading' || state === 'running';
    const percent = Math.round(100 * progress);
    this.status.dataset.state = state;
    this.status.textContent = state === 'loading' ? words.loading(percent) : state === 'running' ? words.encoding(percent) : state === 'failed' ? words.stopped : device === undefined ? words.off : words.readyOn(device);
    this.cancel.style.visibility = works ? 'visible' : 'hidden';
    this.progress.style.visibility = works ? 'visible' : 'hidden';
    this.progress.setAttribute('aria-valuenow', String(percent));
    this.bar.style.width = `${percent}%`;
    this.showBanner(status);
  }

  private showBanner({ state, message, warning, choice, device, precision, kept, other }: EncoderStatus): void {
    const text = state === 'failed' ? message ?? words.stopped : other?.failure ?? warning;
    this.banner.hidden = text === undefined;
    // A banner that is the same is not said again.
    const said = JSON.stringify([text, choice, kept, precision]);
    if (text === undefined || this.banner.dataset.said === said) return;
    this.banner.dataset.said = said;
    this.banner.dataset.kind = state === 'failed' || other?.failure !== undefined ? 'error' : 'warning';
    const ways = state === 'failed'
      ? [
          button({ label: words.startAgain, primary: true }, () => { this.events.onRestart(); }),
          ...(choice === 'cpu' ? [] : [button({ label: words.startOnCpu }, () => { this.events.onRestart('cpu'); })]),
          button({ label: words.showLog }, () => { this.events.onShowLog(); }),
        ]
      : other?.failure !== undefined ? [] : [
          ...(kept === 'all' ? [button({ label: words.keepFewer }, () => { this.events.onKeep('quarter'); })] : []),
          ...(runsToEnd(kept) ? [button({ label: words.runFewer, title: words.runFewerHint }, () => { this.events.onKeep('firstHalf'); })] : []),
          ...(precision === 'float32' && device !== words.devices.cpu ? [button({ label: words.useHalf }, () => { this.events.onHalfPrecision(); })] : []),
        ];
    this.banner.replaceChildren(el('span', 'text', text), ...(ways.length > 0 ? [el('span', 'row', ...ways)] : []));
  }
}

/** A number, or the first and the last of several. */
function span(values: readonly number[]): string {
  return [...new Set([values[0], values.at(-1)])].join('–');
}
