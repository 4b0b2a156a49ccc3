import { MAX_PICTURE_BYTES } from '../src/previewLimits';
import type { PictureInfo, RecentPicture } from '../src/protocol';
import { button, progressRing } from './controls';
import { el } from './dom';
import { words } from './words';

export interface PictureEvents {
  onShow(id: string): void;
  onCompare(id: string): void;
  onRemove(id: string): void;
  onEncode(id: string): void;
  onPick(): void;
  onPickFolder(): void;
  onFlip(by: number): void;
  onSample(): void;
  onAdd(files: { name: string; bytes: Uint8Array<ArrayBuffer> }[]): void;
  onAddRecent(id: string): void;
  onRefuse(message: string): void;
}

/** The strip of pictures, and every way in which one arrives: drop, paste, pick, sample, folder, recent. */
export class PictureStrip {
  readonly element = el('nav', 'strip');
  /** What to do when there is no picture; for the stage. */
  readonly empty = el('div', 'empty');
  private readonly list = el('ul', 'thumbnails');
  private readonly recentHere = el('div', 'recent');
  private readonly recentEmpty = el('div', 'recent');
  private readonly recentBox = el('details', 'recents');
  private addresses: string[] = [];
  private recent: readonly RecentPicture[] = [];
  private pictures: readonly PictureInfo[] = [];
  /** What the list was last made of: scrubbing must not make it anew. */
  private drawn = '';

  constructor(private readonly events: PictureEvents) {
    this.element.setAttribute('aria-label', words.pictures);
    this.recentBox.append(el('summary', '', words.recent), this.recentHere);
    this.element.append(this.list, el('div', 'row', ...this.ways()), this.recentBox);
    this.empty.append(el('h2', '', words.emptyTitle), el('p', '', words.emptyText), el('div', 'row', ...this.ways(true)), this.recentEmpty);
    document.addEventListener('dragover', event => { event.preventDefault(); document.body.classList.add('dropping'); });
    document.addEventListener('dragleave', event => { if (event.relatedTarget === null) document.body.classList.remove('dropping'); });
    document.addEventListener('drop', event => {
      event.preventDefault();
      document.body.classList.remove('dropping');
      void this.take([...(event.dataTransfer?.files ?? [])]);
    });
    document.addEventListener('paste', event => { void this.take([...(event.clipboardData?.files ?? [])]); });
    document.addEventListener('keydown', event => {
      const by = event.key === 'PageDown' ? 1 : event.key === 'PageUp' ? -1 : 0;
      if (by === 0 || !this.pictures.some(({ folder }) => folder !== undefined)) return;
      event.preventDefault();
      events.onFlip(by);
    });
  }

  setRecent(recent: readonly RecentPicture[]): void {
    this.recent = recent;
    this.renderRecent();
  }

  render(pictures: readonly PictureInfo[], images: ReadonlyMap<string, string>, shown: string | null, compared: string | null): void {
    const drawn = JSON.stringify([pictures, [...images.keys()], shown, compared]);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    const changed = pictures.length !== this.pictures.length;
    this.pictures = pictures;
    this.element.hidden = pictures.length === 0;
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.key : undefined;
    this.list.replaceChildren(...pictures.map(picture => this.item(picture, images.get(picture.id), shown, compared)));
    // The list is made anew; whoever was on a button stays on it.
    if (focused !== undefined) [...this.list.querySelectorAll<HTMLElement>('[data-key]')].find(({ dataset }) => dataset.key === focused)?.focus();
    if (changed) this.renderRecent();
  }

  private item(picture: PictureInfo, address: string | undefined, shown: string | null, compared: string | null): HTMLElement {
    const { id, name, status, folder } = picture;
    const face = this.small('thumbnail', `show ${id}`, `${name}, ${words.pictureStatus[status]}`, picture.message ?? name, () => { this.events.onShow(id); });
    face.setAttribute('aria-pressed', String(id === shown));
    if (address !== undefined) {
      const image = el('img');
      image.src = address;
      image.alt = '';
      face.append(image);
    }
    if (status === 'waiting' || status === 'running') face.append(progressRing(words.pictureStatus[status]));
    if (status === 'failed') face.append(el('span', 'failed', '!'));

    const actions = el('div', 'actions');
    if (this.pictures.length > 1 && id !== shown) {
      const label = id === compared ? words.stopComparing : words.compareWith(name);
      const compare = this.small('small', `compare ${id}`, label, label, () => { this.events.onCompare(id); }, id === compared ? words.letter(1) : words.versus);
      compare.setAttribute('aria-pressed', String(id === compared));
      actions.append(compare);
    }
    if (status === 'failed') actions.append(this.small('small', `again ${id}`, words.runAgain, words.runAgain, () => { this.events.onEncode(id); }, '↻'));
    actions.append(this.small('small remove', `remove ${id}`, words.remove(name), words.remove(name), () => { this.events.onRemove(id); }, '×'));
    const item = el('li', id === shown ? 'shown' : id === compared ? 'compared' : '', face, actions);
    if (folder !== undefined) {
      const place = el('span', 'place', words.place(folder.position + 1, folder.count));
      place.title = folder.name;
      item.append(el('div', 'flip',
        this.small('small', 'previous', words.previous, `${words.previous} (Page Up)`, () => { this.events.onFlip(-1); }, '‹'), place,
        this.small('small', 'next', words.next, `${words.next} (Page Down)`, () => { this.events.onFlip(1); }, '›')));
    }
    return item;
  }

  /** @param key what it is over a new making of the list */
  private small(className: string, key: string, label: string, title: string, onClick: () => void, text = ''): HTMLButtonElement {
    const element = el('button', className, text);
    element.type = 'button';
    element.dataset.key = key;
    element.title = title;
    element.setAttribute('aria-label', label);
    element.addEventListener('click', onClick);
    return element;
  }

  private ways(primary = false): HTMLElement[] {
    return [
      button({ label: words.add, title: words.addHint, primary }, () => { this.events.onPick(); }),
      button({ label: words.folder, title: words.folderHint }, () => { this.events.onPickFolder(); }),
      button({ label: words.sample, title: words.sampleHint }, () => { this.events.onSample(); }),
    ];
  }

  /** Pictures of before that are not here now. */
  private renderRecent(): void {
    for (const address of this.addresses) URL.revokeObjectURL(address);
    const offered = this.recent.filter(({ id }) => !this.pictures.some(picture => picture.id === id)).slice(0, 12);
    this.addresses = offered.map(({ thumbnail }) => URL.createObjectURL(new Blob([new Uint8Array(thumbnail)], { type: 'image/png' })));
    for (const [box, isEmpty] of [[this.recentHere, false], [this.recentEmpty, true]] as const) {
      const faces = offered.map(({ id, name }, index) => {
        const face = this.small('thumbnail', `recent ${id}`, words.addAgain(name), name, () => { this.events.onAddRecent(id); });
        const image = el('img');
        image.src = this.addresses[index] ?? '';
        image.alt = '';
        face.append(image);
        return face;
      });
      box.replaceChildren(...(isEmpty && faces.length > 0 ? [el('h3', '', words.recent)] : []), el('div', 'thumbnails', ...faces));
    }
    this.recentBox.hidden = offered.length === 0;
  }

  private async take(files: readonly File[]): Promise<void> {
    const pictures = files.filter(file => file.type === '' || file.type.startsWith('image/'));
    if (files.length > 0 && pictures.length === 0) this.events.onRefuse(words.notAPicture);
    const small = pictures.filter(file => file.size <= MAX_PICTURE_BYTES);
    if (small.length < pictures.length) this.events.onRefuse(words.tooLarge(MAX_PICTURE_BYTES / 2 ** 20));
    if (small.length === 0) return;
    this.events.onAdd(await Promise.all(small.map(async file => ({ name: file.name === '' ? words.pasted : file.name, bytes: new Uint8Array(await file.arrayBuffer()) }))));
  }
}
