import { DEVICE_CHOICES, DEFAULT_TEMPERATURE, KEPT_LAYERS, SIDE_SECTIONS } from '../src/previewLimits';
import type { Comparison, DeviceChoice, Encoding, EncoderStatus, FeatureStatistics, FromWebview, KeptLayers, LayerErrors, ModelInfo, PanelState, PictureInfo, ResizeMode } from '../src/protocol';
import { bars, logLine } from './charts';
import { button, checkbox, copyButton, dropdown, numberBox, slider } from './controls';
import { el, number } from './dom';
import { shortcutTable, type Shortcut } from './shortcuts';
import { comparesEncoders, hasLayers } from './state';
import { sayLayer, words } from './words';

export interface SideEvents {
  onState(changes: Partial<PanelState>): void;
  onDevice(device: DeviceChoice): void;
  onPrecision(precision: Extract<FromWebview, { type: 'precision' }>['precision']): void;
  onKeep(layers: KeptLayers): void;
  onResize(mode: ResizeMode): void;
  onResolution(pixels: number): void;
  onChooseOther(): void;
  onCloseOther(): void;
  onCopy(text: string): void;
  onSavePng(): void;
  onSaveFeatures(format: 'npy' | 'safetensors'): void;
}

/** The numbers that belong to what is in view. */
export interface Facts {
  readonly statistics?: FeatureStatistics | undefined;
  readonly patch?: { readonly row: number; readonly column: number; readonly values: Float32Array } | undefined;
  readonly comparison?: Comparison | undefined;
  readonly errors?: LayerErrors | undefined;
}

/** The facts beside the pictures, and the choices that are made once. */
export class Side {
  readonly element = el('aside', 'side');
  private readonly opacity = slider({ label: words.opacity }, { min: 0, max: 1, step: 0.05 }, value => words.percent(Math.round(100 * value)), opacity => { this.events.onState({ opacity }); });
  private readonly beside = checkbox({ label: words.beside }, on => { this.events.onState({ arrangement: on ? 'beside' : 'overlay' }); });
  private readonly grid = checkbox({ label: words.grid }, grid => { this.events.onState({ grid }); });
  private readonly clip = checkbox({ label: words.clip, title: words.clipHint }, clip => { this.events.onState({ clip }); });
  private readonly allLayers = checkbox({ label: words.allLayers, title: words.allLayersHint }, allLayers => { this.events.onState({ allLayers }); });
  private readonly view = section(words.view);
  private readonly features = section(words.features(''));
  private readonly patch = section(words.patch);
  private readonly compare = section(words.compare);
  private readonly keyboard = section(words.keyboard);
  private readonly comparison = el('div', 'stack');
  private readonly errors = el('div', 'stack');
  private readonly chooseOther = button({ label: words.chooseOther }, () => { this.events.onChooseOther(); });
  private readonly closeOther = button({ label: words.closeOther }, () => { this.events.onCloseOther(); });
  private readonly compareText = el('p', 'hint');
  private readonly temperature = numberBox({ label: words.temperature, title: words.temperatureTitle }, { step: 'any' }, temperature => { this.events.onState({ temperature }); });
  private readonly temperatureHint = el('span', 'hint');
  private readonly embeddings = el('div', 'stack');
  private readonly run = section(words.run);
  private readonly times = el('div', 'stack');
  private readonly device = dropdown({ label: words.device }, DEVICE_CHOICES.map(value => ({ value, label: words.devices[value] })), value => { this.events.onDevice(value); });
  private readonly precision = dropdown({ label: words.precision }, (['float32', 'float16'] as const).map(value => ({ value, label: words.precisions[value] })), value => { this.events.onPrecision(value); });
  private readonly kept = dropdown({ label: words.kept }, KEPT_LAYERS.map(value => ({ value, label: words.keptChoices[value] })), value => { this.events.onKeep(value); });
  private readonly resize = dropdown({ label: words.resize }, (['model', 'square', 'crop'] as const).map(value => ({ value, label: words.resizes[value] })), value => { this.events.onResize(value); });
  private readonly resolution = dropdown<string>({ label: words.resolution }, [], value => { this.events.onResolution(Number(value)); });
  private readonly rule = el('p', 'hint');
  private readonly shrunk = el('p', 'hint');
  private readonly save = section(words.save);
  /** The sections that the state has folded up. */
  private folded = '';
  private model: ModelInfo | undefined;

  constructor(private readonly events: SideEvents, shortcuts: readonly Shortcut[]) {
    this.view.body.append(el('div', 'boxes', this.beside.element, this.grid.element, this.clip.element, this.allLayers.element), this.opacity.element);
    this.keyboard.body.append(shortcutTable(shortcuts));
    this.temperature.setRange(0.001, 100);
    this.embeddings.append(el('h3', '', words.embeddings), this.comparison, el('div', 'row', this.temperature.element, this.temperatureHint));
    this.compare.body.append(this.embeddings, this.compareText, this.errors, el('div', 'row', this.chooseOther, this.closeOther));
    this.run.body.append(this.device.element, this.precision.element, this.kept.element, this.resize.element, this.resolution.element, this.rule, this.shrunk, this.times);
    this.save.body.append(el('div', 'row',
      button({ label: words.savePng, title: words.savePngHint }, () => { events.onSavePng(); }),
      button({ label: words.saveNpy, title: words.saveNpyHint }, () => { events.onSaveFeatures('npy'); }),
      button({ label: words.saveSafetensors, title: words.saveSafetensorsHint }, () => { events.onSaveFeatures('safetensors'); })));
    this.element.setAttribute('aria-label', words.numbers);
    this.element.append(...SIDE_SECTIONS.map(name => this[name].element));
    for (const name of SIDE_SECTIONS) {
      this[name].element.addEventListener('toggle', () => {
        const folded = SIDE_SECTIONS.filter(each => !this[each].element.open);
        if (folded.join() !== this.folded) events.onState({ folded });
      });
    }
  }

  setModel(model: ModelInfo): void {
    this.model = model;
    this.resolution.setOptions(model.resolutions.map(({ pixels, patches }, index) => ({ value: String(pixels), label: index === model.resolutions.length - 1 ? words.ownResolution(patches.toLocaleString('en')) : words.upToPatches(patches.toLocaleString('en')) })));
  }

  /** The temperature in force: the person's, else the model's own, else CLIP's. */
  temperatureOf({ temperature }: PanelState): number {
    return temperature ?? this.model?.temperature ?? DEFAULT_TEMPERATURE;
  }

  /** Unfolds the list of keys and goes there. */
  showKeyboard(): void {
    this.keyboard.element.open = true;
    this.keyboard.element.querySelector('summary')?.focus();
    this.keyboard.element.scrollIntoView({ block: 'nearest' });
  }

  render(state: PanelState, status: EncoderStatus, picture: PictureInfo | undefined): void {
    this.folded = SIDE_SECTIONS.filter(name => state.folded.includes(name)).join();
    for (const name of SIDE_SECTIONS) this[name].element.open = !state.folded.includes(name);
    this.clip.set(state.clip);
    this.allLayers.set(state.allLayers);
    this.allLayers.show(hasLayers(state));
    this.beside.set(state.arrangement === 'beside');
    this.grid.set(state.grid);
    this.opacity.set(state.opacity);
    this.opacity.show(state.arrangement === 'overlay');
    this.temperature.set(Number(this.temperatureOf(state).toPrecision(4)));
    const own = this.model?.temperature;
    this.temperatureHint.textContent = own === undefined ? words.clipsOwn(number(DEFAULT_TEMPERATURE)) : words.modelsOwn(number(own));
    this.device.set(status.choice);
    this.precision.set(status.precision);
    this.kept.set(status.kept);
    this.resize.set(status.resize);
    this.rule.textContent = status.resize === 'model' && status.rule !== '' ? words.preparedBy(status.rule) : '';
    // The other ways to resize give every picture one size.
    this.resolution.show(status.pixels !== undefined && status.resize === 'model');
    if (status.pixels !== undefined) this.resolution.set(String(status.pixels));
    const { grid, ownGrid } = picture?.encodings.main ?? {};
    this.shrunk.textContent = grid === undefined || ownGrid === undefined ? '' : words.shrunk(`${grid.rows} × ${grid.columns}`, `${ownGrid.rows} × ${ownGrid.columns}`);
    this.closeOther.hidden = !comparesEncoders(status);
    const { other } = status;
    this.compareText.textContent = other === undefined || other.failure !== undefined ? words.compareText : other.device === undefined ? words.otherLoading(other.name) : words.otherOn(other.name, other.device);
    this.showTimes(picture, status);
  }

  showFacts(state: PanelState, { statistics, patch, comparison, errors }: Facts): void {
    const model = this.model ?? { layers: 0 };
    this.features.title.textContent = words.features(sayLayer(state.layer, model));
    this.features.body.replaceChildren(...(statistics === undefined ? [] : statisticsRows(statistics, text => { this.events.onCopy(text); })));
    if (patch === undefined) this.patch.body.replaceChildren(el('p', 'hint', words.noPatch));
    else {
      const { row, column, values } = patch;
      const length = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
      const some = [...values.slice(0, 8)].map(number).join('  ');
      this.patch.body.replaceChildren(
        table([[words.place2, words.patchAt(row, column)], [words.norm, number(length)], [words.values, values.length > 8 ? `${some}  ${words.more(values.length)}` : some]]),
        el('h3', '', words.largest), el('div', 'largest', ...this.largestChannels(values)),
        el('div', 'row', copyButton({ label: words.copyValues, title: words.copyValuesHint }, () => { this.events.onCopy(JSON.stringify([...values])); })));
    }
    this.embeddings.hidden = comparison === undefined;
    if (comparison !== undefined) {
      this.comparison.replaceChildren(
        table(comparison.names.map((name, index) => [words.letter(index), name])),
        matrix(words.cosine, comparison.cosine), matrix(words.softmax, comparison.softmax));
    }
    this.errors.replaceChildren(...(errors === undefined ? [] : errorRows(errors, state.layer, model)));
  }

  /** Buttons that show a channel, for those with the largest values. */
  private largestChannels(values: Float32Array): HTMLElement[] {
    const size = (channel: number): number => Math.abs(values[channel] ?? 0);
    const largest = [...values.keys()].filter(channel => Number.isFinite(values[channel])).sort((a, b) => size(b) - size(a)).slice(0, LARGEST);
    return largest.map(channel => {
      const face = el('button', 'small', words.channelValue(channel, number(values[channel] ?? NaN)));
      face.type = 'button';
      face.title = words.showChannel(channel);
      face.addEventListener('click', () => { this.events.onState({ overlay: 'channel', channel }); });
      return face;
    });
  }

  private showTimes(picture: PictureInfo | undefined, { device, rejected = [], memoryBytes }: EncoderStatus): void {
    const encoding = picture?.encodings.main;
    const timings = encoding?.timings;
    this.times.replaceChildren(
      table([
        ...(picture?.width === undefined ? [] : [[words.size, `${picture.width} × ${picture.height ?? 0}`] as const]),
        ...(encoding === undefined ? [] : [[words.patches, sayGrids(encoding)] as const]),
        ...(timings === undefined ? [] : [[words.decode, duration(timings.decode)] as const, [words.resizing, duration(timings.resize)] as const]),
        ...(timings?.run === undefined ? [] : [[words.encoder, duration(timings.run)] as const]),
        ...(device === undefined ? [] : [[words.runsOn, device] as const]),
        ...(memoryBytes === undefined ? [] : [[words.memory, words.gigabytes((memoryBytes / 1e9).toFixed(2))] as const]),
      ]),
      ...rejected.map(({ device: name, reason }) => el('p', 'hint', words.rejected(name, reason))));
  }
}

/** Channels that are named of a patch. */
const LARGEST = 5;

function section(heading: string): { readonly element: HTMLDetailsElement; readonly title: HTMLElement; readonly body: HTMLElement } {
  const title = el('h2', '', heading);
  const body = el('div', 'stack');
  const element = el('details', 'section', el('summary', '', title), body);
  element.open = true;
  return { element, title, body };
}

function statisticsRows(found: FeatureStatistics, onCopy: (text: string) => void): Element[] {
  const { mean, standardDeviation, min, max, nans, infinities } = found.statistics;
  const { low, high, counts } = found.histogram;
  const step = (high - low) / counts.length;
  return [
    table([
      [words.shape, found.shape.join(' × ')],
      [words.mean, number(mean)],
      [words.std, number(standardDeviation)],
      [words.min, number(min)],
      [words.max, number(max)],
      [words.nanInf, nans + infinities === 0 ? words.none : `${nans.toLocaleString('en')} / ${infinities.toLocaleString('en')}`, nans + infinities > 0],
    ]),
    bars(words.histogram(number(low), number(high)), [...counts], index => words.histogramBar(number(low + index * step), number(low + (index + 1) * step), counts[index] ?? 0)),
    el('div', 'axis', el('span', '', number(low)), el('span', '', number(high))),
    el('div', 'row', copyButton({ label: words.copy, title: words.copyNumbersHint }, () => { onCopy(JSON.stringify({ shape: found.shape, ...found.statistics })); })),
  ];
}

function errorRows({ errors }: LayerErrors, layer: number, model: Pick<ModelInfo, 'layers' | 'merged'>): Element[] {
  const say = (index: number): string => sayLayer(index - 1, model);
  const most = errors.reduce((best, error, index) => error > (errors[best] ?? 0) ? index : best, 0);
  const known = errors.filter(error => !Number.isNaN(error));
  if (known.length === 0) return [el('h3', '', words.errorsTitle), el('p', 'hint', words.incomparable)];
  if (known.every(error => error === 0)) return [el('h3', '', words.errorsTitle), el('p', 'hint', words.identical)];
  return [
    el('h3', '', words.errorsTitle),
    logLine(words.errorsLabel(number(errors[0] ?? NaN), number(errors.at(-1) ?? NaN), number(errors[most] ?? NaN)), errors, layer + 1, index => words.errorAt(say(index), number(errors[index] ?? NaN))),
    table([[sayLayer(layer, model), number(errors[layer + 1] ?? NaN)], [words.most, words.atLayer(number(errors[most] ?? NaN), say(most))]]),
  ];
}

/** A grid's rows and columns; the first layer's and the last's where they differ. */
function sayGrids({ grid, grids = [grid] }: Encoding): string {
  return [...new Set([grids[0] ?? grid, grid].map(({ rows, columns }) => `${rows} × ${columns}`))].join(' → ');
}

function duration(value: number): string {
  return value < 1000 ? words.milliseconds(value.toFixed(0)) : words.seconds((value / 1000).toFixed(2));
}

/** @param rows name, value, and whether that is bad news */
function table(rows: readonly (readonly [string, string, boolean?])[]): HTMLElement {
  return el('table', '', el('tbody', '', ...rows.map(([name, value, isBad = false]) => {
    const head = el('th', '', name);
    head.scope = 'row';
    return el('tr', isBad ? 'bad' : '', head, el('td', '', value));
  })));
}

function matrix(caption: string, rows: readonly (readonly number[])[]): HTMLElement {
  const head = el('tr', '', el('td'), ...rows.map((_, index) => el('th', '', words.letter(index))));
  const body = rows.map((row, index) => {
    const name = el('th', '', words.letter(index));
    name.scope = 'row';
    return el('tr', '', name, ...row.map(value => el('td', '', value.toFixed(3))));
  });
  return el('table', 'matrix', el('caption', '', caption), el('tbody', '', head, ...body));
}
