import '../language';
import './style.css';
import { formatBytes } from '../../src/format';
import type { FromInspector, InspectedFile, InspectorReply, ToInspector } from '../../src/inspectorProtocol';
import { button } from '../controls';
import { el } from '../dom';
import { moduleTree } from './moduleTree';
import { TensorDetails, type Ask } from './tensorDetails';
import { TensorTable } from './tensorTable';
import { Treemap } from './treemap';
import { words } from './words';

declare function acquireVsCodeApi(): { postMessage(message: FromInspector): void };
const host = acquireVsCodeApi();

let file: InspectedFile | undefined;
/** What is typed into the filter, and the module that the treemap shows. */
let wanted = '';
let dtype = '';
let module = '';

const waiting = new Map<number, { settle(reply: InspectorReply): void; onProgress(share: number): void }>();
let nextRequest = 0;

const ask: Ask = (question, onProgress) => {
  const request = nextRequest++;
  const answer = new Promise<InspectorReply>(settle => { waiting.set(request, { settle, onProgress }); }).then(reply => {
    if ('failure' in reply) throw new Error(reply.failure);
    return reply.answer as never; // the host answers each question in its own type
  });
  host.postMessage({ type: 'ask', request, question });
  return { answer, cancel: () => { host.postMessage({ type: 'cancel', request }); } };
};

const details = new TensorDetails(ask, text => { host.postMessage({ type: 'copy', text }); });
const table = new TensorTable(choose);
const treemap = new Treemap(tensor => {
  table.choose(tensor);
  choose(tensor);
}, path => {
  module = path;
  filter();
});

const header = el('header');
const banner = el('div', 'banner');
banner.setAttribute('role', 'alert');
const search = el('input', 'search');
search.type = 'search';
search.placeholder = words.filter;
search.setAttribute('aria-label', search.placeholder);
search.addEventListener('input', () => {
  wanted = search.value;
  filter();
});
const chips = el('div', 'chips');
chips.setAttribute('role', 'group');
chips.setAttribute('aria-label', words.dtypes);
const found = el('span', 'found');
found.setAttribute('role', 'status');
const content = el('div', 'content', el('div', 'list', el('div', 'tools', search, chips, found), table.element), details.element);
document.body.append(header, banner, treemap.element, content);

window.addEventListener('message', (event: MessageEvent<ToInspector>) => {
  const message = event.data;
  switch (message.type) {
    case 'file': show(message.file); break;
    case 'unreadable': refuse(message.name, message.message); break;
    case 'changed':
      banner.replaceChildren(el('span', '', words.changed), button({ label: words.reload }, () => { host.postMessage({ type: 'reload' }); }));
      break;
    case 'select': {
      const tensor = file?.tensors.findIndex(({ key }) => key === message.key) ?? -1;
      if (tensor < 0) break;
      table.choose(tensor);
      choose(tensor);
      break;
    }
    case 'progress': waiting.get(message.request)?.onProgress(message.share); break;
    case 'reply':
      waiting.get(message.request)?.settle(message.reply);
      waiting.delete(message.request);
      break;
  }
});
host.postMessage({ type: 'ready' });

function show(next: InspectedFile): void {
  file = next;
  module = '';
  dtype = '';
  const { name, files, tensors, others, warnings } = next;
  const bytes = files.reduce((sum, each) => sum + each.bytes, 0);
  const elements = tensors.reduce((sum, each) => sum + each.elements, 0);
  const formats = [...new Set(files.map(({ format }) => format))].join(', ');
  header.replaceChildren(
    el('h1', '', name),
    el('p', 'facts', words.summary(tensors.length, elements.toLocaleString('en-US', { notation: 'compact', maximumFractionDigits: 2 }), formatBytes(bytes), files.length, formats)),
    button({ label: words.open, title: words.openHint }, () => { host.postMessage({ type: 'open' }); }),
    ...lists(files, others),
  );
  banner.replaceChildren(...warnings.map(warning => el('p', '', warning)));
  content.hidden = treemap.element.hidden = false;
  details.clear();
  table.setTensors(tensors);
  treemap.setRoot(moduleTree(tensors, tensors.map((_, index) => index)), name);
  drawChips();
  filter();
}

function refuse(name: string, message: string): void {
  file = undefined;
  header.replaceChildren(el('h1', '', name));
  banner.replaceChildren(el('p', '', message), button({ label: words.tryAgain }, () => { host.postMessage({ type: 'reload' }); }));
  content.hidden = treemap.element.hidden = true;
}

/** Metadata and values that are no tensors, folded away. */
function lists(files: InspectedFile['files'], others: InspectedFile['others']): HTMLElement[] {
  const metadata = files.flatMap(each => each.metadata.map(([key, value]) => [files.length > 1 ? `${each.name}: ${key}` : key, value] as const));
  const fold = (title: string, entries: readonly (readonly [string, string])[]): HTMLElement[] => entries.length === 0 ? [] : [
    el('details', '', el('summary', '', words.folded(title, entries.length)), el('table', '', ...entries.map(([key, value]) => el('tr', '', el('th', '', key), el('td', '', value))))),
  ];
  return [...fold(words.metadata, metadata), ...fold(words.others, others.map(({ key, description }) => [key, description] as const))];
}

function drawChips(): void {
  const totals = new Map<string, number>();
  for (const tensor of file?.tensors ?? []) totals.set(tensor.dtype, (totals.get(tensor.dtype) ?? 0) + tensor.bytes);
  chips.replaceChildren(...[...totals].sort(([, a], [, b]) => b - a).map(([name, bytes]) => {
    const chip = el('button', 'chip', `${name.toLowerCase()} ${formatBytes(bytes)}`);
    chip.setAttribute('aria-pressed', String(dtype === name));
    chip.title = words.onlyDtype(name.toLowerCase());
    chip.addEventListener('click', () => {
      dtype = dtype === name ? '' : name;
      drawChips();
      filter();
    });
    return chip;
  }));
}

function filter(): void {
  if (file === undefined) return;
  const parts = wanted.toLowerCase().split(/\s+/).filter(word => word !== '');
  const rows = file.tensors.flatMap((tensor, index) => {
    const key = tensor.key.toLowerCase();
    const inside = module === '' || tensor.key === module || tensor.key.startsWith(`${module}.`);
    return inside && (dtype === '' || tensor.dtype === dtype) && parts.every(word => key.includes(word)) ? [index] : [];
  });
  const bytes = rows.reduce((sum, row) => sum + (file?.tensors[row]?.bytes ?? 0), 0);
  found.textContent = rows.length === file.tensors.length ? '' : words.found(rows.length.toLocaleString('en-US'), file.tensors.length.toLocaleString('en-US'), formatBytes(bytes));
  table.show(rows);
}

function choose(index: number): void {
  const tensor = file?.tensors[index];
  if (tensor !== undefined) details.show(index, tensor, file?.files[tensor.file], file?.remote === true);
}
