import type { OutputFormat } from '../extraction/weightsLayout';
import { projectionModule, projectionName, type Projection } from './projection';
import type { Python } from './target';

/** The name under which the snippet lies beside what it loads. */
export const SNIPPET = 'load.py';

export interface SnippetOptions {
  readonly projection?: Projection | undefined;
  /** How the projection is stored. */
  readonly format: OutputFormat;
  /** The folder's path, for a snippet that stands elsewhere than in it. */
  readonly folder?: string;
}

/** A short Python program that loads the encoder, strictly, and its projection. */
export function pythonSnippet({ about, imports, load, train, projects = 'features' }: Python, { projection, format, folder }: SnippetOptions): string {
  const place = folder === undefined ? 'Path(__file__).parent' : `Path(${pythonString(folder)})`;
  const needed = projection === undefined ? imports : [...imports, 'from torch import nn', ...(format === 'torch' ? ['import torch'] : ['from safetensors.torch import load_file'])];
  return [
    ...about.map(line => `# ${line}`),
    ...sortedImports(['from pathlib import Path', ...needed]),
    '',
    `folder = ${place}`,
    ...load,
    ...(projection === undefined ? [] : projectionLines(projection, format, projects, train)),
    '',
  ].join('\n');
}

function projectionLines(projection: Projection, format: OutputFormat, projects: string, train: string | undefined): string[] {
  const { features, decoder } = projection;
  const path = `folder / '${projectionName(format)}'`;
  return [
    '',
    `# A projection to ${printableAscii(decoder.title)}, initialised for training: ${projects} of ${features} become ${decoder.width} wide.`,
    ...(train === undefined ? [] : [projection.form === 'baseline' ? `# In training: ${train}.load_state_dict(..., strict=True), as here.` : `# In training it takes the place of ${train}, whose own has the norm behind the linear layer.`]),
    `projection = ${projectionModule(projection)}`,
    `projection.load_state_dict(${format === 'torch' ? `torch.load(${path}, map_location='cpu')` : `load_file(${path})`}, strict=True)`,
  ];
}

/** Python's standard library first, each group in alphabetical order of modules, no line twice. */
function sortedImports(lines: readonly string[]): string[] {
  const rank = (line: string): string => `${/^(from pathlib|import json)/.test(line) ? 0 : 1}${line.replace(/^(from|import) /, '')}`;
  return [...new Set(lines)].sort((a, b) => (rank(a) < rank(b) ? -1 : 1));
}

/** A string literal that Python reads as this text. */
function pythonString(text: string): string {
  return `'${text.replace(/[\\']/g, '\\$&').replace(/[\p{Cc}\p{Cs}\u2028\u2029]/gu, char => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)}'`;
}

/** A name from a config, for a comment: one line, whatever it holds. */
function printableAscii(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?').slice(0, 80);
}
