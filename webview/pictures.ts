import type { PictureInfo } from '../src/protocol';
import { button, progressRing } from './controls';
import { el } from './dom';
import { droppedPictures, type PictureBytes } from './droppedPictures';
import { Offers, type Offer } from './offers';
import { words } from './words';

/** Pictures in one message. */
const MOST_AT_ONCE = 16;
/** Pictures of before that are offered at once. */
const MOST_RECENT = 12;

export interface PictureEvents {
  onShow(id: string): void;
  onCompare(id: string): void;
  onRemove(id: string): void;
  onEncode(id: string): void;
  onPick(): void;
  onPickFolder(): void;
  onFlip(by: number): void;
  onAddSample(id: string): void;
  onAdd(files: readonly PictureBytes[]): void;
  onAddAddresses(addresses: readonly string[]): void;
  onAddRecent(id: string): void;
  onRefuse(message: string): void;
}

/** The strip of pictures, and every way in which one arrives: drop, paste, pick, sample, folder, recent. */
export class PictureStrip {
  readonly element = el('nav', 'strip');
  /** What to do when there is no picture; for the stage. */
  readonly empty = el('div', 'empty');
  private readonly list = el('ul', 'thumbnails');
  private readonly samples = new Offers(words.samples, words.addSample, id => { this.events.onAddSample(id); });
  private readonly recents = new Offers(words.recent, words.addAgain, id => { this.events.onAddRecent(id); });
  private sampleOffers: readonly Offer[] = [];
  private recent: readonly Offer[] = [];
  private pictures: readonly PictureInfo[] = [];
  /** What the list was last made of: scrubbing must not make it anew. */
  private drawn = '';

  constructor(private readonly events: PictureEvents) {
    this.element.setAttribute('aria-label', words.pictures);
    this.element.append(this.list, el('div', 'row', ...this.ways()), this.samples.inStrip, this.recents.inStrip);
    this.empty.append(el('h2', '', words.emptyTitle), el('p', '', words.emptyText), el('div', 'row', ...this.ways(true)), this.samples.whenEmpty, this.recents.whenEmpty);
    document.addEventListener('dragover', event => { event.preventDefault(); document.body.classList.add('dropping'); });
    document.addEventListener('dragleave', event => { if (event.relatedTarget === null) document.body.classList.remove('dropping'); });
    document.addEventListener('drop', event => {
      event.preventDefault();
      document.body.classList.remove('dropping');
      void this.take(event.dataTransfer, false);
    });
    document.addEventListener('paste', event => {
      if (!(event.target instanceof HTMLInputElement)) void this.take(event.clipboardData, true);
    });
  }

  /** What can be added: the extension's own pictures, and those of before. */
  setOffers({ samples = this.sampleOffers, recent = this.recent }: { readonly samples?: readonly Offer[]; readonly recent?: readonly Offer[] }): void {
    this.sampleOffers = samples;
    this.recent = recent;
    this.renderOffers();
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
    if (changed) this.renderOffers();
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
    ];
  }

  /** Those that are not here now. */
  private renderOffers(): void {
    const isElsewhere = ({ id }: Offer): boolean => !this.pictures.some(picture => picture.id === id);
    const samples = this.sampleOffers.filter(isElsewhere);
    this.samples.show(samples);
    this.recents.show(this.recent.filter(one => isElsewhere(one) && !samples.some(({ id }) => id === one.id)).slice(0, MOST_RECENT));
  }

  private async take(transfer: DataTransfer | null, isPasted: boolean): Promise<void> {
    if (transfer === null) return;
    const { files, addresses, refusal } = await droppedPictures(transfer, isPasted);
    if (refusal !== undefined) this.events.onRefuse(refusal);
    for (let first = 0; first < files.length; first += MOST_AT_ONCE) this.events.onAdd(files.slice(first, first + MOST_AT_ONCE));
    if (addresses.length > 0) this.events.onAddAddresses(addresses);
  }
}
