import { hierarchy, treemap, treemapSquarify, type HierarchyRectangularNode } from 'd3-hierarchy';
import { formatBytes } from '../../src/format';
import { el } from '../dom';
import type { ModuleNode } from './moduleTree';
import { words } from './words';

/** More rectangles are not drawn: the smallest cannot be told apart anyway. */
const MOST_RECTANGLES = 400;
const COLOURS = ['blue', 'orange', 'green', 'purple', 'red', 'yellow'] as const;

/** Where the bytes are: rectangles in proportion, two levels deep; a click goes into a module or chooses a tensor. */
export class Treemap {
  readonly element = el('section', 'treemap');
  private readonly path = el('nav', 'path');
  private readonly area = el('div', 'area');
  /** From the root to the module that is shown. */
  private trail: readonly ModuleNode[] = [];

  constructor(private readonly onTensor: (tensor: number) => void, private readonly onModule: (path: string) => void) {
    this.element.setAttribute('aria-label', words.map);
    this.path.setAttribute('aria-label', words.path);
    this.element.append(this.path, this.area);
    new ResizeObserver(() => { this.draw(); }).observe(this.area);
  }

  setRoot(root: ModuleNode, title: string): void {
    const trail = [{ ...root, name: title }];
    // A module around everything else tells nothing.
    for (let at = trail[0]; at?.children.length === 1; at = trail.at(-1)) {
      const [only] = at.children;
      if (only === undefined || only.children.length === 0) break;
      trail.push(only);
    }
    this.trail = trail;
    this.draw();
  }

  private enter(node: ModuleNode): void {
    if (node.tensor !== undefined) {
      this.onTensor(node.tensor);
      return;
    }
    const at = this.trail.indexOf(node);
    this.trail = at >= 0 ? this.trail.slice(0, at + 1) : [...this.trail, node];
    this.onModule(node.path);
    this.draw();
  }

  private draw(): void {
    const shown = this.trail.at(-1);
    const { clientWidth: width, clientHeight: height } = this.area;
    if (shown === undefined || width === 0) return;
    this.path.replaceChildren(...this.trail.map((node, depth) => {
      const button = el('button', '', node.name);
      if (depth === this.trail.length - 1) button.setAttribute('aria-current', 'location');
      button.addEventListener('click', () => { this.enter(node); });
      return button;
    }), el('span', 'sum', words.sum(formatBytes(shown.bytes), shown.tensors)));

    const twoLevels = hierarchy<ModuleNode>(shown, node => node === shown || shown.children.includes(node) ? node.children : [])
      .sum(node => (node === shown || (shown.children.includes(node) && node.children.length > 0) ? 0 : node.bytes))
      .sort((a, b) => (b.value ?? 0) - (a.value ?? 0));
    const laid = treemap<ModuleNode>().tile(treemapSquarify).size([width, height]).paddingTop(node => node.depth === 1 && node.children !== undefined ? 16 : 0).paddingInner(1).round(true)(twoLevels);
    const nodes = laid.descendants().filter(node => node.depth > 0 && node.x1 - node.x0 >= 2 && node.y1 - node.y0 >= 2).slice(0, MOST_RECTANGLES);
    const order = new Map((laid.children ?? []).map((child, index) => [child.data, index]));
    this.area.replaceChildren(...nodes.map(node => this.rectangle(node, order)));
  }

  private rectangle(node: HierarchyRectangularNode<ModuleNode>, order: ReadonlyMap<ModuleNode, number>): HTMLElement {
    const { data, depth, x0, x1, y0, y1 } = node;
    const group = depth === 1 ? data : node.parent?.data ?? data;
    const box = el('button', depth === 1 && node.children !== undefined ? 'box group' : 'box');
    box.style.left = `${x0}px`;
    box.style.top = `${y0}px`;
    box.style.width = `${x1 - x0}px`;
    box.style.height = `${y1 - y0}px`;
    box.style.setProperty('--colour', `var(--vscode-charts-${COLOURS[(order.get(group) ?? 0) % COLOURS.length] ?? 'blue'})`);
    box.title = `${data.path}\n${data.tensor === undefined ? words.sum(formatBytes(data.bytes), data.tensors) : formatBytes(data.bytes)}`;
    box.setAttribute('aria-label', box.title.replace('\n', ', '));
    if (x1 - x0 > 28 && y1 - y0 > 13) box.textContent = data.name;
    box.addEventListener('click', event => {
      event.stopPropagation();
      this.enter(depth === 2 && group !== data && data.tensor === undefined && !this.trail.includes(group) ? group : data);
    });
    return box;
  }
}
