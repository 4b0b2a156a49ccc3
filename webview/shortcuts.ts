import { el } from './dom';

/** Keys that do something wherever the focus is, or, without `run`, where their label says. */
export interface Shortcut {
  /** What the keyboard's keys are called (KeyboardEvent.key). */
  readonly keys: readonly string[];
  readonly label: string;
  /** @param index of the key among `keys` */
  readonly run?: (index: number) => void;
}

const SIGNS: Readonly<Record<string, string>> = { ArrowUp: '↑', ArrowDown: '↓', ArrowLeft: '←', ArrowRight: '→', PageUp: 'Page Up', PageDown: 'Page Down', ' ': 'Space' };

/** Listens for them, except where keys are typed, and where they belong to the editor. */
export function listenForShortcuts(shortcuts: readonly Shortcut[]): void {
  document.addEventListener('keydown', event => {
    const { target } = event;
    if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey) return;
    if (target instanceof Element && target.closest('input[type="number"], vscode-dropdown') !== null) return;
    for (const { keys, run } of shortcuts) {
      const index = keys.indexOf(event.key.length === 1 ? event.key.toLowerCase() : event.key);
      if (index < 0 || run === undefined) continue;
      event.preventDefault();
      run(index);
      return;
    }
  });
}

/** All of them, for people to read. */
export function shortcutTable(shortcuts: readonly Shortcut[]): HTMLElement {
  return el('table', 'shortcuts', el('tbody', '', ...shortcuts.map(({ keys, label }) => {
    const shown = keys.length > 4 ? [keys[0] ?? '', '…', keys.at(-1) ?? ''] : keys;
    const head = el('th', '', ...shown.map(key => key === '…' ? key : el('kbd', '', SIGNS[key] ?? (key.length === 1 ? key.toUpperCase() : key))));
    head.scope = 'row';
    return el('tr', '', head, el('td', '', label));
  })));
}
