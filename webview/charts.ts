const SVG = 'http://www.w3.org/2000/svg';

type Attributes = Readonly<Record<string, string | number>>;

function svg(name: string, attributes: Attributes, ...children: Element[]): SVGElement {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  element.append(...children);
  return element;
}

function titled(element: SVGElement, title: string): SVGElement {
  const text = svg('title', {});
  text.textContent = title;
  element.append(text);
  return element;
}

/** A chart in a box of 100 x 40 units, stretched to its place. */
function chart(label: string, kind: string, ...children: Element[]): SVGElement {
  return svg('svg', { 'class': `chart ${kind}`, 'viewBox': '0 0 100 40', 'preserveAspectRatio': 'none', 'role': 'img', 'aria-label': label }, ...children);
}

/** Bars; one with anything in it stays visible beside a high peak. */
export function bars(label: string, values: readonly number[], titleOf: (index: number) => string): SVGElement {
  const most = Math.max(1, ...values);
  const width = 100 / values.length;
  return chart(label, 'bars', ...values.map((value, index) => {
    const height = value === 0 ? 0 : Math.max(1, 40 * value / most);
    const group = svg('g', {}, svg('rect', { x: index * width, y: 0, width, height: 40, 'class': 'reach' }), svg('rect', { x: index * width + width * 0.06, y: 40 - height, width: width * 0.88, height, 'class': 'bar' }));
    return titled(group, titleOf(index));
  }));
}

/**
 * A line over equal steps on a logarithmic axis, as errors want, with the place in view marked.
 * Values of zero lie on the ground.
 */
export function logLine(label: string, values: readonly number[], marked: number, titleOf: (index: number) => string): SVGElement {
  const logs = values.map(value => value > 0 && Number.isFinite(value) ? Math.log10(value) : undefined);
  const known = logs.filter(value => value !== undefined);
  const low = Math.floor(Math.min(...known) - 0.001);
  const high = Math.ceil(Math.max(...known) + 0.001);
  const step = 100 / Math.max(1, values.length);
  const x = (index: number): number => (index + 0.5) * step;
  const y = (value: number | undefined): number => value === undefined ? 40 : 38 - 36 * (value - low) / Math.max(1, high - low);
  const points = logs.map((value, index) => `${x(index)},${y(value)}`).join(' ');
  return chart(label, 'line',
    svg('line', { 'x1': x(marked), 'x2': x(marked), 'y1': 0, 'y2': 40, 'class': 'marker' }),
    svg('polyline', { points, 'class': 'curve' }),
    ...values.map((_, index) => titled(svg('rect', { 'x': index * step, 'y': 0, 'width': step, 'height': 40, 'class': 'reach' }), titleOf(index))));
}
