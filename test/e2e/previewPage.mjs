// Drives the preview's page as a person does, and reads what it says.
import { readdirSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';

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

  async waitUntilReady(device = '', timeout = 20_000) {
    await this.frame.locator('.status[data-state="ready"]', { hasText: device }).waitFor({ timeout });
    await this.frame.locator('.thumbnail vscode-progress-ring').first().waitFor({ state: 'hidden' });
  }

  /** Drops files onto the page, as the browser would hand them over. */
  async drop(...files) {
    const contents = await Promise.all(files.map(async ({ name, path, type }) => ({ name, type, base64: (await readFile(path)).toString('base64') })));
    await this.body.evaluate((body, list) => { body.dispatchEvent(new DragEvent('drop', { bubbles: true, cancelable: true, dataTransfer: globalThis.transferOf(list) })); }, await this.prepared(contents));
  }

  /** Drops text of a type: addresses and paths, as the editor's own lists and other programs do. */
  async dropText(type, text) {
    await this.body.evaluate((body, [kind, value]) => {
      const dataTransfer = new DataTransfer();
      dataTransfer.setData(kind, value);
      body.dispatchEvent(new DragEvent('drop', { bubbles: true, cancelable: true, dataTransfer }));
    }, [type, text]);
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
    await this.frame.locator('main[aria-busy="false"]').waitFor();
    return this.canvas(index).evaluate(canvas => new Promise(resolve => { requestAnimationFrame(() => { resolve(canvas.toDataURL()); }); }));
  }

  /** Chooses from a drop-down list. */
  async choose(label, option) {
    const list = this.frame.locator(`vscode-dropdown[aria-label=${JSON.stringify(label)}]`);
    await list.click();
    await list.getByRole('option', { name: option, exact: true }).click();
  }

  /** Points at a patch with the keyboard. */
  async point(row, column) {
    await this.canvas().focus();
    const readout = this.frame.locator('.readout');
    const place = async () => (/row (\d+), column (\d+)/.exec(await readout.innerText()) ?? []).slice(1).map(Number);
    await this.canvas().press('ArrowDown');
    for (let steps = 0; steps < 100; steps++) {
      const [atRow, atColumn] = await place();
      if (atRow === row && atColumn === column) return;
      await this.canvas().press(atRow < row ? 'ArrowDown' : atRow > row ? 'ArrowUp' : atColumn < column ? 'ArrowRight' : 'ArrowLeft');
    }
    throw new Error(`The keyboard does not get to row ${row}, column ${column}.`);
  }

  /** The value that is told for a patch. */
  async valueAt(row, column) {
    await this.point(row, column);
    const readout = this.frame.locator('.readout', { hasText: `row ${row}, column ${column}: ` });
    await readout.waitFor();
    return Number((await readout.innerText()).split(': ')[1].split(' ')[0]);
  }

  /** Texts whose contrast with what is behind them is less than people with low vision can read (WCAG 2.1, 1.4.3). */
  poorContrasts() {
    return this.body.evaluate(body => {
      const parse = text => (text.match(/[\d.]+/g) ?? []).map(Number);
      const over = ([r, g, b, a = 1], below) => [r, g, b].map((value, index) => value * a + below[index] * (1 - a));
      const luminance = rgb => rgb.map(value => { const s = value / 255; return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4; }).reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
      const ground = element => element === null ? [255, 255, 255] : over(parse(getComputedStyle(element).backgroundColor), ground(element.parentElement));
      const texts = [...body.querySelectorAll('h1, h2, h3, th, td, .hint, .facts, .status, .readout, .legend, .caption, output, .segments span, figcaption, summary, .place')]
        .filter(element => element.offsetWidth > 0 && element.textContent.trim() !== '' && getComputedStyle(element).visibility === 'visible');
      return texts.flatMap(element => {
        const below = ground(element);
        const [one, two] = [luminance(over(parse(getComputedStyle(element).color), below)), luminance(below)];
        const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
        return ratio < 4.5 ? [`${element.textContent.trim().slice(0, 40)}: ${ratio.toFixed(2)}`] : [];
      });
    });
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

/** The encoder's processes that this build runs. */
export function encoderProcesses() {
  const entry = path.resolve(import.meta.dirname, '../../dist/encoder.js');
  // A package is installed into a folder of its own.
  const isOurs = argument => (process.env.VISION_ENCODER_VSIX ? /vision-encoder-extractor\.[^/]*\/dist\/encoder\.js$/.test(argument) : argument === entry);
  return readdirSync('/proc').filter(name => /^\d+$/.test(name)).filter(pid => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').some(isOurs);
    } catch {
      return false; // it has ended meanwhile
    }
  }).map(Number);
}
