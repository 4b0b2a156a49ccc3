import { FAMILIES } from './registry';

/** The families as a Markdown table for the README: what each is called, where it occurs, and how far support goes. */
export function familyTable(): string {
  const rows = FAMILIES.map(({ id, title, models, support, switches }) => [
    title, models, `\`${id}\``, support === 'preview' ? 'yes' : 'no', switches === undefined ? '' : switches.map(({ id: name, kept }) => `${name} (${kept ? 'in' : 'out'})`).join(', '),
  ]);
  const head = ['Encoder', 'Found in', 'Family in recipes', 'Preview', 'Optional parts (preset)'];
  return [head, head.map(() => '---'), ...rows].map(cells => `| ${cells.join(' | ')} |`).join('\n');
}
