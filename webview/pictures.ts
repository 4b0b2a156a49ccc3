import { MAX_PICTURE_BYTES } from '../src/previewLimits';
import type { PictureInfo } from '../src/protocol';
import { button, progressRing } from './controls';
import { el } from './dom';

export interface PictureEvents {
  onShow(id: string): void;
  onCompare(id: string): void;
  onRemove(id: string): void;
  onPick(): void;
  onSample(): void;
  onAdd(files: { name: string; bytes: Uint8Array }[]): void;
  onRefuse(message: string): void;
}

/** The strip of pictures, and every way in which one arrives: drop, paste, pick, sample. */
export class PictureStrip {
  readonly element = el('nav', 'strip');
  private readonly list = el('ul');

  constructor(private readonly events: PictureEvents) {
    this.element.setAttribute('aria-label', 'Pictures');
    this.element.append(
      this.list,
      button({ label: 'Add picture…', title: 'Pick a picture, or drop or paste one anywhere in this panel' }, () => { events.onPick(); }),
      button({ label: 'Sample', title: 'A picture that comes with the extension' }, () => { events.onSample(); }),
    );
    document.addEventListener('dragover', event => { event.preventDefault(); });
    document.addEventListener('drop', event => {
      event.preventDefault();
      void this.take([...(event.dataTransfer?.files ?? [])]);
    });
    document.addEventListener('paste', event => { void this.take([...(event.clipboardData?.files ?? [])]); });
  }

  render(pictures: readonly PictureInfo[], images: ReadonlyMap<string, string>, shown: string | undefined, compared: string | undefined): void {
    this.list.replaceChildren(...pictures.map(picture => {
      const { id, name, status } = picture;
      const face = el('button', 'thumbnail');
      face.setAttribute('aria-pressed', String(id === shown));
      face.setAttribute('aria-label', `${name}${status === 'ready' ? '' : `, ${status}`}`);
      face.title = picture.message ?? name;
      const address = images.get(id);
      if (address !== undefined) {
        const image = el('img');
        image.src = address;
        image.alt = '';
        face.append(image);
      }
      if (status === 'waiting' || status === 'running') face.append(progressRing(`${name} is being encoded`));
      if (status === 'failed') face.append(el('span', 'failed', '!'));
      face.addEventListener('click', () => { this.events.onShow(id); });

      const compare = el('button', 'small', id === compared ? 'B' : 'vs');
      compare.title = id === compared ? 'Stop comparing' : `Compare with ${name}`;
      compare.setAttribute('aria-pressed', String(id === compared));
      compare.hidden = pictures.length < 2 || id === shown;
      compare.addEventListener('click', () => { this.events.onCompare(id); });

      const remove = el('button', 'small', '×');
      remove.title = `Remove ${name}`;
      remove.setAttribute('aria-label', remove.title);
      remove.addEventListener('click', () => { this.events.onRemove(id); });
      return el('li', id === shown ? 'shown' : '', face, el('div', 'actions', compare, remove));
    }));
  }

  private async take(files: readonly File[]): Promise<void> {
    const pictures = files.filter(file => file.type === '' || file.type.startsWith('image/'));
    if (files.length > 0 && pictures.length === 0) this.events.onRefuse('What was dropped is not a picture.');
    const small = pictures.filter(file => file.size <= MAX_PICTURE_BYTES);
    if (small.length < pictures.length) this.events.onRefuse(`A picture is larger than ${MAX_PICTURE_BYTES / 2 ** 20} MB. Make it smaller first.`);
    if (small.length === 0) return;
    this.events.onAdd(await Promise.all(small.map(async file => ({ name: file.name === '' ? 'pasted picture' : file.name, bytes: new Uint8Array(await file.arrayBuffer()) }))));
  }
}
