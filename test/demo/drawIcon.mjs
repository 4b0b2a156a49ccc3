// Draws media/icon.png, which VS Code shows on the extension's page, from the icon of the views: `node test/demo/drawIcon.mjs`.
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import sharp from 'sharp';

const media = path.resolve(import.meta.dirname, '../../media');
const icon = (await readFile(path.join(media, 'icon.svg'), 'utf8')).replaceAll('currentColor', '#6cb8ff').replace('width="24" height="24"', 'x="44" y="44" width="168" height="168"');
const tile = `<svg xmlns="http://www.w3.org/2000/svg" width="256" height="256"><rect width="256" height="256" rx="48" fill="#1e2430"/>${icon}</svg>`;
await sharp(Buffer.from(tile)).png({ palette: true, compressionLevel: 9 }).toFile(path.join(media, 'icon.png'));
