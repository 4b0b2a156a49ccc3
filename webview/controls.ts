import { provideVSCodeDesignSystem, vsCodeButton, vsCodeCheckbox, vsCodeDropdown, vsCodeOption, vsCodeProgressRing } from '@vscode/webview-ui-toolkit';
import { words } from './words';

/*
 * The one module that knows the control library. The toolkit is in maintenance; replacing it means replacing this file.
 */
provideVSCodeDesignSystem().register(vsCodeButton(), vsCodeCheckbox(), vsCodeDropdown(), vsCodeOption(), vsCodeProgressRing());

interface Labelled {
  readonly label: string;
  readonly title?: string;
}

export function button({ label, title, primary = false }: Labelled & { readonly primary?: boolean }, onClick: () => void): HTMLElement {
  const element = document.createElement('vscode-button');
  element.setAttribute('appearance', primary ? 'primary' : 'secondary');
  element.textContent = label;
  if (title !== undefined) element.title = title;
  element.addEventListener('click', onClick);
  return element;
}

/** A small button that copies and says so. */
export function copyButton({ label, title }: Labelled, onClick: () => void): HTMLElement {
  const element = button({ label, ...(title !== undefined && { title }) }, () => {
    onClick();
    element.textContent = words.copied;
    setTimeout(() => { element.textContent = label; }, 1500);
  });
  element.classList.add('copy');
  element.setAttribute('aria-live', 'polite');
  return element;
}

export interface Choice<Value extends string> {
  readonly element: HTMLElement;
  set(value: Value): void;
  setOptions(options: readonly { readonly value: Value; readonly label: string }[]): void;
  show(visible: boolean): void;
}

/** A drop-down list with its label before it. */
export function dropdown<Value extends string>({ label }: Labelled, options: readonly { readonly value: Value; readonly label: string }[], onChange: (value: Value) => void): Choice<Value> {
  const list = document.createElement('vscode-dropdown') as HTMLElement & { value: string };
  list.setAttribute('aria-label', label);
  let known = options;
  const setOptions = (next: typeof options) => {
    known = next;
    list.replaceChildren(...next.map(({ value, label: text }) => {
      const option = document.createElement('vscode-option');
      option.setAttribute('value', value);
      option.textContent = text;
      return option;
    }));
  };
  setOptions(options);
  list.addEventListener('change', () => {
    const chosen = known.find(option => option.value === list.value);
    if (chosen !== undefined) onChange(chosen.value);
  });
  const element = field(label, list);
  return { element, set: value => { list.value = value; }, setOptions, show: visible => { element.hidden = !visible; } };
}

export interface Toggle {
  readonly element: HTMLElement;
  set(on: boolean): void;
  show(visible: boolean): void;
}

export function checkbox({ label, title }: Labelled, onChange: (on: boolean) => void): Toggle {
  const box = document.createElement('vscode-checkbox') as HTMLElement & { checked: boolean };
  box.textContent = label;
  if (title !== undefined) box.title = title;
  // The toolkit's box says that it changed also when it is set.
  let known = false;
  box.addEventListener('change', () => {
    if (box.checked === known) return;
    known = box.checked;
    onChange(known);
  });
  return { element: box, set: on => { known = on; box.checked = on; }, show: visible => { box.hidden = !visible; } };
}

export interface Slider {
  readonly element: HTMLElement;
  readonly input: HTMLInputElement;
  set(value: number): void;
  setRange(min: number, max: number): void;
  show(visible: boolean): void;
}

/** A range input (the toolkit has none) that reports while it is dragged and says its value in words. */
export function slider({ label }: Labelled, range: { readonly min: number; readonly max: number; readonly step: number }, say: (value: number) => string, onInput: (value: number) => void): Slider {
  const input = document.createElement('input');
  const output = document.createElement('output');
  Object.assign(input, { type: 'range', min: String(range.min), max: String(range.max), step: String(range.step) });
  input.setAttribute('aria-label', label);
  const describe = () => {
    const spoken = say(input.valueAsNumber);
    output.textContent = spoken;
    input.setAttribute('aria-valuetext', spoken);
    // The style sheet draws the part up to the thumb.
    const { min, max } = { min: Number(input.min), max: Number(input.max) };
    input.style.setProperty('--filled', `${max > min ? 100 * (input.valueAsNumber - min) / (max - min) : 0}%`);
  };
  input.addEventListener('input', () => {
    describe();
    onInput(input.valueAsNumber);
  });
  const element = field(label, input, output);
  return {
    element,
    input,
    set: value => { input.value = String(value); describe(); },
    setRange: (min, max) => { input.min = String(min); input.max = String(max); describe(); },
    show: visible => { element.hidden = !visible; },
  };
}

/** A number that is typed; one outside the range becomes the nearest within. */
export function numberBox({ label, title }: Labelled, { step }: { readonly step: number | 'any' }, onChange: (value: number) => void): Slider {
  const input = document.createElement('input');
  Object.assign(input, { type: 'number', min: '0', step: String(step) });
  input.setAttribute('aria-label', title ?? label);
  if (title !== undefined) input.title = title;
  input.addEventListener('change', () => {
    const typed = step === 1 ? Math.round(input.valueAsNumber) : input.valueAsNumber;
    const value = Math.min(Number(input.max), Math.max(Number(input.min), typed));
    if (!Number.isFinite(value)) return;
    input.value = String(value);
    onChange(value);
  });
  const element = field(label, input);
  return {
    element,
    input,
    set: value => { input.value = String(value); },
    setRange: (min, max) => { input.min = String(min); input.max = String(max); },
    show: visible => { element.hidden = !visible; },
  };
}

export interface Segments<Value extends string> {
  readonly element: HTMLElement;
  set(value: Value): void;
  /** Shows these choices only. */
  offer(values: readonly Value[]): void;
}

/** One of a few, all in sight: radio buttons in a row, which the keyboard and screen readers know. */
export function segments<Value extends string>({ label }: Labelled, choices: readonly { readonly value: Value; readonly label: string; readonly title: string }[], onChange: (value: Value) => void): Segments<Value> {
  const element = document.createElement('div');
  element.className = 'segments';
  element.setAttribute('role', 'radiogroup');
  element.setAttribute('aria-label', label);
  const parts = choices.map(({ value, label: text, title }) => {
    const input = document.createElement('input');
    Object.assign(input, { type: 'radio', name: label, value });
    input.addEventListener('change', () => { if (input.checked) onChange(value); });
    const caption = document.createElement('span');
    caption.textContent = text;
    const part = document.createElement('label');
    part.title = title;
    part.append(input, caption);
    element.append(part);
    return { value, input, part };
  });
  return {
    element,
    set: wanted => { for (const { value, input } of parts) input.checked = value === wanted; },
    offer: values => { for (const { value, part } of parts) part.hidden = !values.includes(value); },
  };
}

export function progressRing(label: string): HTMLElement {
  const ring = document.createElement('vscode-progress-ring');
  ring.setAttribute('aria-label', label);
  return ring;
}

function field(label: string, ...children: HTMLElement[]): HTMLElement {
  const element = document.createElement('div');
  element.className = 'field';
  const caption = document.createElement('span');
  caption.className = 'caption';
  caption.textContent = label;
  // The control itself carries the label for screen readers.
  caption.setAttribute('aria-hidden', 'true');
  element.append(caption, ...children);
  return element;
}
