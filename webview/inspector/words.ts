import { t } from '@vscode/l10n';
import { formatCount } from '../../src/format';

/** Every word that the page shows, in the editor's language. */
export const words = {
  summary: (tensors: number, elements: string, bytes: string, files: number, formats: string) => files > 1
    ? t('{0} · {1} elements · {2} in {3} · {4}', formatCount(tensors, 'tensor'), elements, bytes, formatCount(files, 'file'), formats)
    : t('{0} · {1} elements · {2} · {3}', formatCount(tensors, 'tensor'), elements, bytes, formats),
  open: t('Open as Checkpoint'),
  openHint: t('Mark, validate and extract its vision encoder in the views'),
  changed: t('The file has changed on the disk.'),
  reload: t('Reload'),
  tryAgain: t('Try again'),
  folded: (title: string, count: number) => t('{0} ({1})', title, count),
  metadata: t('Metadata'),
  others: t('Not tensors'),

  // The list
  filter: t('Filter by name: words in any order'),
  dtypes: t('Dtypes'),
  onlyDtype: (dtype: string) => t('Only {0}', dtype),
  found: (shown: string, all: string, bytes: string) => t('{0} of {1}, {2}', shown, all, bytes),
  tensors: t('Tensors'),
  columns: { key: t('Name'), dtype: t('Dtype'), shape: t('Shape'), elements: t('Elements'), bytes: t('Size'), share: t('Share') },
  sortBy: (column: string) => t('Sort by {0}', column.toLowerCase()),
  sortOtherwise: t('Sort the other way; a third time as in the file'),

  // Where the bytes are
  map: t('Where the bytes are'),
  path: t('Module'),
  sum: (bytes: string, tensors: number) => t('{0} in {1}', bytes, formatCount(tensors, 'tensor')),

  // One tensor
  tensor: t('Tensor'),
  choose: t('Choose a tensor to see its statistics, a histogram of its values and a picture of them.'),
  copy: t('Copy'),
  copyHint: t('Copy the name'),
  facts: { dtype: t('dtype'), shape: t('shape'), elements: t('elements'), bytes: t('bytes'), file: t('file'), offset: t('from byte') },
  exactly: (rounded: string, exact: string) => t('{0} ({1})', rounded, exact),
  empty: t('It has no elements.'),
  readWhenAsked: (bytes: string) => t('Its {0} are read only when you say so.', bytes),
  read: t('Read values'),
  cancel: t('Cancel'),
  values: t('Values'),
  picture: t('The picture'),
  whole: (rows: number, columns: number) => t('{0} × {1}', rows, columns),
  part: (firstRow: number, lastRow: number, firstColumn: number, lastColumn: number) => t('rows {0} to {1}, columns {2} to {3}', firstRow, lastRow, firstColumn, lastColumn),
  averaged: (place: string, rows: number, columns: number) => t('{0}, averaged to {1} × {2}', place, rows, columns),
  caption: (place: string, closest: boolean) => closest
    ? t('{0}. Blue below zero, red above. Click for the whole.', place)
    : t('{0}. Blue below zero, red above. Click to go closer.', place),
  valueAt: (row: number, column: number, value: string, isMean: boolean) => isMean
    ? t('[{0}, {1}] mean = {2}', row, column, value)
    : t('[{0}, {1}] = {2}', row, column, value),
  matrixOf: (count: string) => t('Matrix of {0}', count),
  statistics: t('Statistics'),
  figures: { mean: t('mean'), std: t('std'), min: t('min'), max: t('max'), zeros: t('zeros'), nan: t('NaN'), infinite: t('infinite') },
  none: t('none'),
  share: (count: string, percent: string) => t('{0} ({1} %)', count, percent),
  histogram: (low: string, high: string) => t('Histogram of the values from {0} to {1}', low, high),
  histogramBar: (low: string, high: string, count: string) => t('{0} to {1}: {2}', low, high, count),
} as const;
