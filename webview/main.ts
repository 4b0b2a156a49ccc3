import './style.css';
import type { EncoderStatus, ModelInfo, PanelState, PictureInfo } from '../src/protocol';
import { ControlPanel } from './controlPanel';
import { el } from './dom';
import { Host } from './host';
import { latest } from './latest';
import { Numbers } from './numbers';
import { PictureCanvas } from './pictureCanvas';
import { PictureStrip } from './pictures';
import { fitState, INITIAL_STATE, isPooled, mapFor, sayLayer } from './state';
import { Viewport } from './viewport';

const host = new Host();
const viewport = new Viewport();

let model: ModelInfo | undefined;
let state: PanelState = INITIAL_STATE;
let status: EncoderStatus = { state: 'off', choice: 'auto', resize: 'model', rule: '' };
let pictures: readonly PictureInfo[] = [];
let shown: string | undefined;
let compared: string | undefined;
let hovered: number | undefined;
const images = new Map<string, { address: string; bitmap: ImageBitmap }>();

const strip = new PictureStrip({
  onShow: id => { shown = id; if (compared === id) compared = undefined; renderAll(); },
  onCompare: id => { compared = compared === id ? undefined : id; renderAll(); },
  onRemove: id => { host.post({ type: 'remove', picture: id }); },
  onPick: () => { host.post({ type: 'pick' }); },
  onSample: () => { host.post({ type: 'sample' }); },
  onAdd: files => { host.post({ type: 'add', files }); },
  onRefuse: say,
});
const canvases = [canvas('Picture A'), canvas('Picture B')] as const;
const numbers = new Numbers();
const announcer = el('div', 'announcer');
announcer.setAttribute('role', 'status');
const banner = el('div', 'banner');
banner.setAttribute('role', 'alert');
const empty = el('p', 'empty');

const controls = new ControlPanel({
  onState: change,
  onDevice: device => { host.post({ type: 'device', device }); },
  onResize: mode => { host.post({ type: 'resize', mode }); },
  onCancel: () => { host.post({ type: 'cancel' }); },
  onRestart: device => { host.post(device === undefined ? { type: 'restart' } : { type: 'restart', device }); },
  onSavePng: () => { void savePng(); },
  onSaveFeatures: format => { if (shown !== undefined) host.post({ type: 'saveFeatures', picture: shown, format }); },
});

const stage = el('main', 'stage', canvases[0].element, canvases[1].element, empty);
document.body.append(controls.header, banner, strip.element, el('div', 'columns', stage, el('aside', 'side', controls.element, numbers.element)), announcer);

host.listen(message => {
  switch (message.type) {
    case 'model':
      model = message.model;
      state = fitState(message.state ?? { ...INITIAL_STATE, layer: message.model.layers - 1 }, model);
      controls.setModel(model);
      break;
    case 'encoder':
      status = message.status;
      banner.textContent = status.state === 'failed' ? (status.message ?? 'The encoder stopped.') : '';
      break;
    case 'pictures': {
      const added = message.pictures.find(picture => !pictures.some(({ id }) => id === picture.id));
      pictures = message.pictures;
      // A new picture is what the person wants to see.
      if (added !== undefined || !pictures.some(({ id }) => id === shown)) shown = added?.id ?? pictures.at(-1)?.id;
      if (!pictures.some(({ id }) => id === compared)) compared = undefined;
      forgetRemoved();
      break;
    }
    case 'pixels':
      receivePixels(message.picture, message.mime, message.bytes).catch((error: unknown) => { say(String(error)); });
      return;
  }
  renderAll();
});
host.post({ type: 'ready' });

function canvas(label: string): PictureCanvas {
  return new PictureCanvas(viewport, {
    onHover: patch => { hovered = patch; if (state.overlay === 'similarity') refreshMaps(); },
    onPick: patch => { change({ patch: state.patch === patch ? null : patch }); },
  }, label);
}

function change(changes: Partial<PanelState>): void {
  state = { ...state, ...changes };
  host.post({ type: 'state', state });
  renderAll();
}

function renderAll(): void {
  strip.render(pictures, new Map([...images].map(([id, { address }]) => [id, address])), shown, compared);
  controls.render(state, status, pictures.length > 0);
  const chosen = [shown, compared];
  canvases.forEach((each, position) => {
    const picture = pictures.find(({ id }) => id === chosen[position]);
    each.element.hidden = picture === undefined || !images.has(picture.id);
    each.setPicture(picture === undefined ? undefined : images.get(picture.id)?.bitmap, picture?.seen, picture?.grid, picture?.name ?? '');
    each.setView({ opacity: state.opacity, beside: state.arrangement === 'beside', grid: state.grid, marked: position === 0 ? (state.patch ?? undefined) : undefined });
  });
  const main = pictures.find(({ id }) => id === shown);
  empty.textContent = main === undefined ? 'Drop, paste or add a picture to see what the encoder sees.' : (main.message ?? '');
  empty.hidden = main !== undefined && main.message === undefined;
  numbers.showTimes(main, status.device, status.memoryBytes);
  refreshMaps();
  refreshNumbers();
}

const refreshMaps = latest(async isCurrent => {
  const current = model;
  if (current === undefined) return;
  // The chosen patch stays the reference; without one the pointer's does.
  const patch = state.patch ?? hovered;
  const maps = await Promise.all([shown, compared].map(async id => {
    if (id === undefined || pictures.find(picture => picture.id === id)?.status !== 'ready') return undefined;
    const map = mapFor(state, current, patch, id === shown ? undefined : shown);
    return map === undefined ? undefined : await host.ask({ type: 'map', picture: id, map });
  }));
  if (!isCurrent()) return;
  maps.forEach((map, position) => { canvases[position]?.setMap(map); });
  controls.showHint(hint(current, patch, maps[0]?.explained));
}, say);

const refreshNumbers = latest(async isCurrent => {
  const current = model;
  const picture = pictures.find(({ id }) => id === shown);
  if (current === undefined || picture?.status !== 'ready') {
    numbers.showStatistics('', undefined);
    numbers.showPatch(undefined, 1, undefined);
    numbers.showComparison(undefined);
    return;
  }
  const other = pictures.find(({ id }) => id === compared);
  const layer = Math.min(state.layer, current.layers - 1);
  const statistics = await host.ask({ type: 'statistics', picture: picture.id, layer: isPooled(state, current) ? 'pooled' : layer });
  const patch = state.patch === null ? undefined : await host.ask({ type: 'patch', picture: picture.id, layer, patch: state.patch });
  const comparison = other?.status === 'ready' ? await host.ask({ type: 'compare', pictures: [picture.id, other.id], temperature: 0.07 }) : undefined;
  if (!isCurrent()) return;
  numbers.showStatistics(sayLayer(state.layer, current), statistics);
  numbers.showPatch(state.patch ?? undefined, picture.grid?.columns ?? 1, patch);
  numbers.showComparison(comparison);
}, say);

function hint(current: ModelInfo, patch: number | undefined, explained: readonly number[] | undefined): string {
  if (isPooled(state, current)) return 'Where the chosen query of the attention pool looks.';
  if (explained !== undefined) return `Explained variance: ${explained.map(share => `${(100 * share).toFixed(1)} %`).join(', ')}`;
  if ((state.overlay === 'similarity' || state.overlay === 'attention') && patch === undefined) {
    return state.overlay === 'similarity' ? 'Point at a patch, or click one to keep it.' : 'Click a patch to see where it looks.';
  }
  return '';
}

async function receivePixels(id: string, mime: string, bytes: Uint8Array): Promise<void> {
  const blob = new Blob([new Uint8Array(bytes)], { type: mime });
  const bitmap = await createImageBitmap(blob);
  images.get(id)?.bitmap.close();
  images.set(id, { address: URL.createObjectURL(blob), bitmap });
  renderAll();
}

function forgetRemoved(): void {
  for (const [id, { address, bitmap }] of images) {
    if (pictures.some(picture => picture.id === id)) continue;
    URL.revokeObjectURL(address);
    bitmap.close();
    images.delete(id);
  }
}

async function savePng(): Promise<void> {
  const picture = pictures.find(({ id }) => id === shown);
  if (picture === undefined || model === undefined) return;
  const blob = await canvases[0].toPng();
  const stem = picture.name.replace(/\.[^.]*$/, '');
  host.post({ type: 'savePng', name: `${stem} ${state.overlay} ${sayLayer(state.layer, model)}.png`, bytes: new Uint8Array(await blob.arrayBuffer()) });
}

function say(message: string): void {
  announcer.textContent = message;
}
