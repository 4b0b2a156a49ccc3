import './language';
import './style.css';
import { runsToEnd } from '../src/previewLimits';
import type { Encoding, EncoderStatus, ModelInfo, PanelState, PatchMap, PictureInfo, Subject } from '../src/protocol';
import { AnswerCache } from './answers';
import { el } from './dom';
import { Header } from './header';
import { Host } from './host';
import { latest } from './latest';
import type { CanvasPicture } from './pictureCanvas';
import { PictureStrip } from './pictures';
import { Side } from './side';
import { Stage, type Shown, type StageView } from './stage';
import { listenForShortcuts, type Shortcut } from './shortcuts';
import { attendingBlock, fitLayers, fitState, gridAt, hasLayers, INITIAL_STATE, isPooled, mapFor, nearestViewed, overlaysFor, patchIn, shownOverlay, subjectsFor, viewedLayers, type Reference } from './state';
import { Toolbar } from './toolbar';
import { Viewport } from './viewport';
import { sayLayer, words } from './words';

const host = new Host();
const answers = new AnswerCache(host);
const viewport = new Viewport();

let model: ModelInfo | undefined;
let state: PanelState = INITIAL_STATE;
let status: EncoderStatus = { state: 'off', choice: 'auto', precision: 'float32', kept: 'all', resize: 'model', rule: '' };
let pictures: readonly PictureInfo[] = [];
/** Under the pointer, and in which picture. */
/** In the grid of the patch embedding, as the state has its patch. */
let hovered: { readonly patch: number; readonly figure: number } | undefined;
/** The values of the chosen patch, as far as they are known. */
let chosen: Float32Array | undefined;
const images = new Map<string, { address: string; bitmap: ImageBitmap }>();

const header = new Header({
  onCancel: () => { host.post({ type: 'cancel' }); },
  onRestart: device => { host.post(device === undefined ? { type: 'restart' } : { type: 'restart', device }); },
  onHalfPrecision: () => { host.post({ type: 'precision', precision: 'float16' }); },
  onKeep: layers => { host.post({ type: 'keep', layers }); },
  onShowLog: () => { host.post({ type: 'showLog' }); },
});
const toolbar = new Toolbar(change);
const strip = new PictureStrip({
  onShow: id => { change({ shown: id, compared: state.compared === id ? null : state.compared }); },
  onCompare: id => { change({ compared: state.compared === id ? null : id }); },
  onRemove: id => { host.post({ type: 'remove', picture: id }); },
  onEncode: id => { host.post({ type: 'encode', picture: id }); },
  onPick: () => { host.post({ type: 'pick' }); },
  onPickFolder: () => { host.post({ type: 'pickFolder' }); },
  onFlip: by => { host.post({ type: 'flip', by }); },
  onAddSample: picture => { host.post({ type: 'addSample', picture }); },
  onAdd: files => { host.post({ type: 'add', files: [...files] }); },
  onAddAddresses: addresses => { host.post({ type: 'addAddresses', addresses: [...addresses] }); },
  onAddRecent: picture => { host.post({ type: 'addRecent', picture }); },
  onRefuse: say,
});
const keyboard: readonly Shortcut[] = [
  { keys: ['[', ']'], label: words.keys.layer, run: index => { stepLayer(index === 0 ? -1 : 1); } },
  { keys: ['1', '2', '3', '4', '5', '6', '7', '8'], label: words.keys.view, run: showOverlay },
  { keys: ['b'], label: words.keys.beside, run: () => { change({ arrangement: state.arrangement === 'beside' ? 'overlay' : 'beside' }); } },
  { keys: ['g'], label: words.keys.grid, run: () => { change({ grid: !state.grid }); } },
  { keys: ['o'], label: words.keys.clip, run: () => { change({ clip: !state.clip }); } },
  { keys: ['a'], label: words.keys.allLayers, run: () => { change({ allLayers: !state.allLayers }); } },
  { keys: ['c'], label: words.keys.copy, run: () => { if (chosen !== undefined) copy(JSON.stringify([...chosen])); } },
  { keys: ['ArrowUp', 'ArrowDown', 'ArrowLeft', 'ArrowRight'], label: words.keys.move },
  { keys: ['Enter'], label: words.keys.pick },
  { keys: ['+', '-', '0'], label: words.keys.zoom },
  { keys: ['PageUp', 'PageDown'], label: words.keys.flip, run: index => { if (pictures.some(({ folder }) => folder !== undefined)) host.post({ type: 'flip', by: index === 0 ? -1 : 1 }); } },
  { keys: ['?'], label: words.keys.list, run: () => { side.showKeyboard(); } },
];
listenForShortcuts(keyboard);
const side = new Side({
  onState: change,
  onDevice: device => { host.post({ type: 'device', device }); },
  onPrecision: precision => { host.post({ type: 'precision', precision }); },
  onKeep: layers => { host.post({ type: 'keep', layers }); },
  onResize: mode => { host.post({ type: 'resize', mode }); },
  onResolution: pixels => { host.post({ type: 'resolution', pixels }); },
  onChooseOther: () => { host.post({ type: 'chooseOther' }); },
  onCloseOther: () => { host.post({ type: 'closeOther' }); },
  onSavePng: () => { savePng().catch((error: unknown) => { say(String(error)); }); },
  onCopy: copy,
  onSaveFeatures: format => { if (state.shown !== null) host.post({ type: 'saveFeatures', picture: state.shown, format }); },
}, keyboard);
const stage = new Stage(viewport, {
  onHover: (patch, figure) => {
    hovered = patch === undefined ? undefined : { patch: moved(patch, figure, state.layer, -1), figure };
    if (state.overlay === 'similarity' && state.patch === null) refreshMaps();
  },
  onPick: (patch, figure) => { change({ patch: chosenAt(state.layer) === patch && chosenFigure() === figure ? null : moved(patch, figure, state.layer, -1), patchOnSecond: figure === 1 }); },
  onPickLayer: layer => { change({ layer, allLayers: false }); },
}, strip.empty);
const trouble = el('p', 'trouble');
trouble.setAttribute('role', 'alert');

document.body.append(header.element, toolbar.element, el('div', 'columns', el('div', 'centre', stage.element, trouble, strip.element), side.element));
// The editor's theme comes as classes of the body.
new MutationObserver(() => { stage.refresh(); }).observe(document.body, { attributes: true, attributeFilter: ['class'] });

function copy(text: string): void {
  host.post({ type: 'copy', text });
}

/** To the nearest layer that is there, in the direction. */
function stepLayer(by: -1 | 1): void {
  if (model === undefined) return;
  const layers = viewedLayers(model, status).filter(layer => (layer - state.layer) * by > 0);
  if (layers.length > 0) change({ layer: by > 0 ? Math.min(...layers) : Math.max(...layers) });
}

function showOverlay(index: number): void {
  const overlay = model && overlaysFor(model, status)[index];
  if (overlay !== undefined) change({ overlay });
}

/** The picture whose patch is chosen: the second, as long as there is one. */
function chosenFigure(): number {
  return state.patchOnSecond && subjectsFor(state, status, pictures).length > 1 ? 1 : 0;
}

function change(changes: Partial<PanelState>): void {
  // Before the model is here the state is nobody's choice.
  if (model === undefined) return;
  state = { ...state, ...changes };
  state = fitLayers(state, model, status);
  host.post({ type: 'state', state });
  renderAll();
}

function receivePictures(next: readonly PictureInfo[], show: string | undefined): void {
  const encoded = (list: readonly PictureInfo[]): string => JSON.stringify(list.map(({ id, encodings }) => [id, encodings.main?.timings, encodings.other?.timings]));
  if (encoded(next) !== encoded(pictures)) answers.clear();
  pictures = next;
  for (const [id, { address, bitmap }] of images) {
    if (pictures.some(picture => picture.id === id)) continue;
    URL.revokeObjectURL(address);
    bitmap.close();
    images.delete(id);
  }
  const isHere = (id: string | null): boolean => pictures.some(picture => picture.id === id);
  const shown = show ?? (isHere(state.shown) ? state.shown : pictures.at(-1)?.id ?? null);
  const compared = isHere(state.compared) && state.compared !== shown ? state.compared : null;
  // The list is empty for a moment while a panel is restored, which is no reason to forget what it showed.
  if (pictures.length > 0 && (shown !== state.shown || compared !== state.compared)) change({ shown, compared });
}

async function receivePixels(id: string, mime: string, bytes: Uint8Array): Promise<void> {
  const blob = new Blob([new Uint8Array(bytes)], { type: mime });
  const bitmap = await createImageBitmap(blob);
  images.get(id)?.bitmap.close();
  images.set(id, { address: URL.createObjectURL(blob), bitmap });
  renderAll();
}

function renderAll(): void {
  const picture = pictures.find(({ id }) => id === state.shown);
  document.body.classList.toggle('has-pictures', pictures.length > 0);
  strip.empty.hidden = pictures.length > 0;
  header.render(status);
  toolbar.render(state, status);
  strip.render(pictures, new Map([...images].map(([id, { address }]) => [id, address])), state.shown, state.compared);
  side.render(state, status, picture);
  if (picture?.status === 'failed' && status.state !== 'failed') say(picture.message ?? '');
  else say('');
  refreshMaps();
  refreshFacts();
}

function isReady({ picture, encoder }: Subject): boolean {
  return pictures.find(({ id }) => id === picture)?.encodings[encoder]?.ready === true;
}

function encodingOf({ picture, encoder }: Subject): Encoding | undefined {
  const info = pictures.find(({ id }) => id === picture);
  return info?.encodings[encoder] ?? info?.encodings.main;
}

/** A patch of a figure's picture in the grid of another layer. */
function moved(patch: number, figure: number, from: number, to: number): number {
  const subject = subjectsFor(state, status, pictures)[figure];
  const encoding = subject && encodingOf(subject);
  return encoding === undefined ? patch : patchIn(gridAt(encoding, to), patch, gridAt(encoding, from));
}

/** The chosen patch in the grid of a layer. */
function chosenAt(layer: number): number | undefined {
  return state.patch === null ? undefined : moved(state.patch, chosenFigure(), -1, layer);
}

/** A subject as a canvas draws it; undefined while its picture is not decoded. */
function canvasPicture(subject: Subject): CanvasPicture | undefined {
  const { picture } = subject;
  const info = pictures.find(({ id }) => id === picture);
  const encoding = encodingOf(subject);
  const image = images.get(picture)?.bitmap;
  return info && image && { name: info.name, image, seen: encoding?.seen ?? { x: 0, y: 0, width: 1, height: 1 }, ...(encoding === undefined ? { rows: 0, columns: 0 } : gridAt(encoding, state.layer)) };
}

const refreshMaps = latest(async isCurrent => {
  const current = model;
  if (current === undefined) return;
  const subjects = subjectsFor(state, status, pictures);
  const ready = subjects.filter(isReady);
  // The chosen patch stays the reference; without one similarity follows the pointer.
  const figure = chosenFigure();
  const patch = chosenAt(state.layer);
  const marked = patch === undefined ? undefined : { patch, figure };
  const reference = referenceAt(state.patch !== null ? { patch: state.patch, figure } : state.overlay === 'similarity' ? hovered : undefined, subjects);
  const view: StageView = {
    opacity: state.opacity, beside: state.arrangement === 'beside' && state.overlay !== 'none', grid: state.grid, clip: state.clip, marked,
    hint: hint(current), measure: measure(current), isSigned: shownOverlay(state, current) === 'channel', flags: shownOverlay(state, current) === 'norm',
  };
  const [first] = ready;
  if (state.allLayers && hasLayers(state) && first !== undefined && (state.overlay !== 'similarity' || reference !== undefined)) {
    await showLayers(current, first, reference, view, isCurrent);
    return;
  }
  const maps = await Promise.all(subjects.map(async subject => {
    if (!isReady(subject) || (state.overlay === 'difference' && !isReady({ ...subject, encoder: 'other' }))) return undefined;
    const map = mapFor(state, current, inGridOf(state.layer, reference), subject, ready);
    return map === undefined ? undefined : answers.ask({ type: 'map', subject, map });
  }));
  if (!isCurrent()) return;
  const shown = subjects.flatMap((subject, index): Shown[] => {
    const picture = canvasPicture(subject);
    return picture === undefined ? [] : [{ picture, map: maps[index], caption: words.captionOf(words.letter(index), captionOf(subject)) }];
  });
  stage.show(shown, view);
  if (shown.length > 0) prefetch(current, ready, reference);
}, say, busy => { stage.element.setAttribute('aria-busy', String(busy)); });

function referenceAt(at: { readonly patch: number; readonly figure: number } | undefined, subjects: readonly Subject[]): Reference | undefined {
  const subject = at && subjects[at.figure];
  return at === undefined || subject === undefined ? undefined : { patch: at.patch, subject };
}

/** The reference in the grid of a layer. */
function inGridOf(layer: number, reference: Reference | undefined): Reference | undefined {
  const encoding = reference && encodingOf(reference.subject);
  return reference === undefined || encoding === undefined ? reference : { ...reference, patch: patchIn(gridAt(encoding, layer), reference.patch, gridAt(encoding, -1)) };
}

/** The map of every layer, each shown as it comes. */
async function showLayers(current: ModelInfo, subject: Subject, reference: Reference | undefined, view: StageView, isCurrent: () => boolean): Promise<void> {
  const layers = viewedLayers(current, status).filter(layer => !isPooled({ ...state, layer }, current) && (state.overlay !== 'attention' || (layer >= 0 && layer < current.layers)));
  const at = { ...state };
  const maps = new Map<number, PatchMap>();
  const key = JSON.stringify([subject, at.overlay, at.head, at.channel, reference]);
  const draw = (): void => {
    stage.showLayers(layers.map(layer => ({ layer, name: sayLayer(layer, current), map: maps.get(layer), isCurrent: layer === at.layer })), key, { ...view, measure: words.overlays[at.overlay] });
  };
  draw();
  for (const layer of layers) {
    const map = mapFor({ ...at, layer }, current, inGridOf(layer, reference), subject, [subject]);
    if (map !== undefined) maps.set(layer, await answers.ask({ type: 'map', subject, map }));
    if (!isCurrent()) return;
    draw();
  }
}

/** What the numbers of the map in view are. */
function measure(current: ModelInfo): string {
  const overlay = shownOverlay(state, current);
  switch (overlay) {
    case 'attention': return words.attentionOf(attendingBlock(state, current), state.head === null ? words.allHeads : words.oneHead(state.head));
    case 'pool': return words.poolOf(words.oneQuery(state.query));
    case 'channel': return words.channelOf(state.channel);
    default: return words.measures[overlay];
  }
}

function captionOf({ picture, encoder }: Subject): string {
  const comparesPictures = state.compared !== null;
  if (comparesPictures) return pictures.find(({ id }) => id === picture)?.name ?? '';
  return encoder === 'main' ? model?.name ?? '' : status.other?.name ?? '';
}

const refreshFacts = latest(async isCurrent => {
  const current = model;
  const subjects = subjectsFor(state, status, pictures);
  const [subject, second] = subjects;
  chosen = undefined;
  if (current === undefined || subject === undefined || !isReady(subject)) {
    side.showFacts(state, {});
    return;
  }
  // Attention is there for every block, numbers for those that are kept.
  const layer = nearestViewed(state.layer, current, status);
  const patched = subjects[chosenFigure()] ?? subject;
  const patchLayer = isPooled(state, current) ? current.layers - 1 : layer;
  const encoding = encodingOf(patched);
  const columns = encoding === undefined ? 1 : gridAt(encoding, patchLayer).columns;
  const at = chosenAt(patchLayer);
  const both = status.other !== undefined && isReady({ picture: subject.picture, encoder: 'other' });
  const [statistics, values, comparison, errors] = await Promise.all([
    orSay(answers.ask({ type: 'statistics', subject, layer })),
    at === undefined || !isReady(patched) ? undefined : orSay(answers.ask({ type: 'patch', subject: patched, layer: patchLayer, patch: at })),
    second?.encoder === 'main' && isReady(second) && runsToEnd(status.kept) ? orSay(answers.ask({ type: 'compare', pictures: [subject.picture, second.picture], temperature: side.temperatureOf(state) })) : undefined,
    both ? orSay(answers.ask({ type: 'errors', picture: subject.picture })) : undefined,
  ]);
  if (!isCurrent()) return;
  chosen = values;
  const patch = values === undefined || at === undefined ? undefined : { row: Math.floor(at / columns), column: at % columns, values };
  side.showFacts({ ...state, layer }, { statistics, patch, comparison, errors });
}, say);

/** Asks for the other layers of what is in view, the nearest first, while nothing else is wanted: scrubbing finds them here. */
let fetching = 0;
function prefetch(current: ModelInfo, subjects: readonly Subject[], reference: Reference | undefined): void {
  const mine = ++fetching;
  // An attention map runs the encoder, which is not done on a guess.
  if (state.overlay === 'attention' || state.overlay === 'pool' || state.overlay === 'none' || (state.overlay === 'similarity' && state.patch === null)) return;
  const at = { ...state };
  const layers = viewedLayers(current, status).sort((a, b) => Math.abs(a - at.layer) - Math.abs(b - at.layer));
  const run = async (): Promise<void> => {
    for (const layer of layers) {
      for (const subject of subjects) {
        if (mine !== fetching) return;
        const map = mapFor({ ...at, layer }, current, inGridOf(layer, reference), subject, subjects);
        if (map !== undefined && !answers.has({ type: 'map', subject, map })) await answers.ask({ type: 'map', subject, map });
      }
    }
  };
  // What fails here fails again, and is said, when it is looked at.
  run().catch(() => undefined);
}

function hint(current: ModelInfo): string {
  if (isPooled(state, current) && state.overlay !== 'none') return words.queryHint;
  if (state.overlay === 'pool') return current.queries > 1 ? words.queryHint : '';
  if (state.patch === null && state.overlay === 'similarity') return words.pointHint;
  if (state.patch === null && state.overlay === 'attention') return current.prefixTokens > 0 ? words.classTokenHint : words.clickHint;
  return '';
}

async function savePng(): Promise<void> {
  const picture = pictures.find(({ id }) => id === state.shown);
  if (picture === undefined || model === undefined) return;
  const blob = await stage.toPng();
  const stem = picture.name.replace(/\.[^.]*$/, '');
  host.post({ type: 'savePng', name: `${stem} ${state.overlay} ${sayLayer(state.layer, model)}.png`, bytes: new Uint8Array(await blob.arrayBuffer()) });
}

/** An answer that cannot be had does not keep the others away. */
async function orSay<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
    return undefined;
  }
}

function say(message: string): void {
  trouble.textContent = message;
  trouble.hidden = message === '';
}

host.listen(message => {
  // What was sent before this page was ready is told again after the model; acting on it would overwrite the state that comes with it.
  if (model === undefined && message.type !== 'model') return;
  switch (message.type) {
    case 'model':
      model = message.model;
      state = fitState(message.state ?? { ...INITIAL_STATE, layer: model.layers - 1 }, model);
      answers.clear();
      // What the model before made of the pictures is not this one's.
      pictures = pictures.map(picture => ({ ...picture, encodings: {} }));
      header.setModel(model);
      toolbar.setModel(model);
      side.setModel(model);
      break;
    case 'encoder':
      status = message.status;
      if (model !== undefined) state = fitLayers(state, model, status);
      break;
    case 'pictures':
      receivePictures(message.pictures, message.show);
      break;
    case 'pixels':
      receivePixels(message.picture, message.mime, message.bytes).catch((error: unknown) => { say(String(error)); });
      return;
    case 'samples':
      strip.setOffers({ samples: message.samples });
      return;
    case 'recent':
      strip.setOffers({ recent: message.recent });
      return;
  }
  renderAll();
}, problem => { say(problem); });
host.post({ type: 'ready' });
renderAll();
