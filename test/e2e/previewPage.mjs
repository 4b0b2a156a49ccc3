// Drives the preview's page as a person does, and reads what it says.
import { readFile } from 'node:fs/promises';

export class PreviewPage {
  /** @param {import('../vscode/workbench.mjs').Workbench} workbench */
  constructor(workbench) {
    this.workbench = workbench;
  }

  get frame() {
    return this.workbench.webview();
  }

  get body() {
    return this.frame.locator('body');
  }

  get status() {
    return this.frame.locator('header .status');
  }

  async waitUntilReady(device = '') {
    await this.frame.locator('.status[data-state="ready"]', { hasText: device }).waitFor();
    await this.frame.locator('.thumbnail vscode-progress-ring').first().waitFor({ state: 'hidden' });
  }

  /** Drops files onto the page, as the browser would hand them over. */
  async drop(...files) {
    const contents = await Promise.all(files.map(async ({ name, path, type }) => ({ name, type, base64: (await readFile(path)).toString('base64') })));
    await this.body.evaluate((body, list) => { body.dispatchEvent(new DragEvent('drop', { bubbles: true, cancelable: true, dataTransfer: globalThis.transferOf(list) })); }, await this.prepared(contents));
  }

  /** Pastes a picture, as the browser would hand over the clipboard. */
  async paste({ name, path, type }) {
    const base64 = (await readFile(path)).toString('base64');
    await this.body.evaluate((body, list) => { body.dispatchEvent(new ClipboardEvent('paste', { bubbles: true, clipboardData: globalThis.transferOf(list) })); }, await this.prepared([{ name, type, base64 }]));
  }

  /** Teaches the page to make a DataTransfer of bytes. */
  async prepared(contents) {
    await this.body.evaluate(() => {
      globalThis.transferOf = list => {
        const transfer = new DataTransfer();
        for (const { name, type, base64 } of list) transfer.items.add(new File([Uint8Array.from(atob(base64), character => character.charCodeAt(0))], name, { type }));
        return transfer;
      };
    });
    return contents;
  }

  button(name) {
    return this.frame.getByRole('button', { name, exact: true });
  }

  async overlay(name) {
    await this.frame.locator('.segments label', { hasText: new RegExp(`^${name}$`) }).click();
  }

  /** Moves a slider as the keyboard does, and waits for its words. */
  async slide(label, value, words) {
    const slider = this.frame.getByRole('slider', { name: label, exact: true });
    await slider.fill(String(value));
    await slider.and(this.frame.locator(`[aria-valuetext=${JSON.stringify(words)}]`)).waitFor();
  }

  /** A fact of the side's section, by its name there. */
  async fact(sectionTitle, name) {
    const section = this.frame.locator('.section', { has: this.frame.locator('h2', { hasText: new RegExp(`^${sectionTitle}`) }) });
    return (await section.locator('tr', { has: this.frame.locator('th', { hasText: new RegExp(`^${name}$`) }) }).first().locator('td').innerText()).trim();
  }

  canvas(index = 0) {
    return this.frame.locator('figure:not([hidden]) canvas').nth(index);
  }

  /** What is drawn, to tell whether it changed. */
  async drawn(index = 0) {
    return this.canvas(index).evaluate(canvas => new Promise(resolve => { requestAnimationFrame(() => { resolve(canvas.toDataURL()); }); }));
  }

  /** Points at a patch with the keyboard and reads the value there. */
  async valueAt(row, column) {
    await this.canvas().focus();
    const place = `row ${row}, column ${column}`;
    const readout = this.frame.locator('.readout');
    await this.canvas().press('ArrowDown');
    for (let steps = 0; steps < 200; steps++) {
      const [, atRow, atColumn] = /row (\d+), column (\d+)/.exec(await readout.innerText()) ?? [];
      if (Number(atRow) === row && Number(atColumn) === column) break;
      await this.canvas().press(Number(atRow) < row ? 'ArrowDown' : Number(atRow) > row ? 'ArrowUp' : Number(atColumn) < column ? 'ArrowRight' : 'ArrowLeft');
    }
    const text = await readout.innerText();
    if (!text.startsWith(place)) throw new Error(`The readout says "${text}" where ${place} was pointed at.`);
    return Number(text.slice(place.length + 1));
  }
}

/** The float32 tensors of a safetensors file. @returns {Promise<Map<string, { shape: number[], data: Float32Array }>>} */
export async function readTensors(file) {
  const bytes = await readFile(file);
  const headerLength = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + headerLength));
  return new Map(Object.entries(header).filter(([key]) => key !== '__metadata__').map(([key, { shape, data_offsets: [start, end] }]) => {
    const from = 8 + headerLength;
    return [key, { shape, data: new Float32Array(bytes.buffer.slice(bytes.byteOffset + from + start, bytes.byteOffset + from + end)) }];
  }));
}
