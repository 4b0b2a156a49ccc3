import { el } from './dom';

/** A picture that can be added. */
export interface Offer {
  readonly id: string;
  readonly name: string;
  readonly thumbnail: Uint8Array;
}

/** Pictures to add, under a heading: folded away in the strip, in the open where there is no picture yet. */
export class Offers {
  readonly inStrip = el('details', 'recents');
  readonly whenEmpty = el('div', 'recent');
  private readonly here = el('div', 'recent');
  private addresses: string[] = [];

  /** @param label what the button of a picture does */
  constructor(private readonly title: string, private readonly label: (name: string) => string, private readonly onAdd: (id: string) => void) {
    this.inStrip.append(el('summary', '', title), this.here);
  }

  show(offers: readonly Offer[]): void {
    for (const address of this.addresses) URL.revokeObjectURL(address);
    this.addresses = offers.map(({ thumbnail }) => URL.createObjectURL(new Blob([new Uint8Array(thumbnail)])));
    const faces = (): HTMLElement => el('div', 'thumbnails', ...offers.map((offer, index) => this.face(offer, this.addresses[index] ?? '')));
    this.here.replaceChildren(faces());
    this.whenEmpty.replaceChildren(...(offers.length > 0 ? [el('h3', '', this.title), faces()] : []));
    this.inStrip.hidden = offers.length === 0;
  }

  private face({ id, name }: Offer, address: string): HTMLElement {
    const image = el('img');
    image.src = address;
    image.alt = '';
    const face = el('button', 'thumbnail', image);
    face.type = 'button';
    face.title = name;
    face.setAttribute('aria-label', this.label(name));
    face.addEventListener('click', () => { this.onAdd(id); });
    return face;
  }
}
