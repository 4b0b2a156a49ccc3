/** All layouts of up to so many tiles as rows and columns, in the order in which Mllama numbers them, from 1 (transformers, image_processing_mllama.py). */
export function tileLayouts(most: number): (readonly [rows: number, columns: number])[] {
  return Array.from({ length: most }, (_, row) => Array.from({ length: Math.floor(most / (row + 1)) }, (__, column) => [row + 1, column + 1] as const)).flat();
}
