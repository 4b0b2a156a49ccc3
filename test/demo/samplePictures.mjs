// Draws the sample pictures of the preview into media/pictures: `node test/demo/samplePictures.mjs`. The first of them, the
// house, lies in media/sample (picture.mjs).
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import sharp from 'sharp';

const folder = path.resolve(import.meta.dirname, '../../media/pictures');

/** The house again, at night, elsewhere and of other colours: for comparing two pictures patch by patch. */
const NIGHT = `<svg xmlns="http://www.w3.org/2000/svg" width="640" height="480">
  <defs>
    <linearGradient id="sky" x2="0" y2="1"><stop offset="0" stop-color="#0c1433"/><stop offset="1" stop-color="#3b3f72"/></linearGradient>
    <radialGradient id="glow"><stop offset="0" stop-color="#ffd98a" stop-opacity=".7"/><stop offset="1" stop-color="#ffd98a" stop-opacity="0"/></radialGradient>
  </defs>
  <rect width="640" height="480" fill="url(#sky)"/>
  ${Array.from({ length: 60 }, (_, i) => `<circle cx="${i * 197 % 640}" cy="${i * 89 % 260}" r="${0.8 + i % 3 * 0.5}" fill="#fff" opacity="${0.4 + i % 4 * 0.15}"/>`).join('')}
  <circle cx="110" cy="90" r="44" fill="#f2efdc"/><circle cx="128" cy="80" r="38" fill="#141c40"/>
  <path d="M-30 330 L170 140 L330 330 Z M300 330 L500 175 L700 330 Z" fill="#252b4d"/>
  <rect y="320" width="640" height="160" fill="#1f3a33"/>
  <circle cx="447" cy="350" r="190" fill="url(#glow)"/>
  <rect x="370" y="270" width="150" height="120" fill="#6d3b35"/>
  <path d="M350 275 L445 195 L540 275 Z" fill="#3a1f22"/>
  <rect x="388" y="298" width="40" height="36" fill="#ffd98a"/><path d="M408 298 V334 M388 316 H428" stroke="#6d3b35" stroke-width="4"/>
  <rect x="452" y="325" width="36" height="65" fill="#1c1214"/>
  <rect x="150" y="300" width="20" height="90" fill="#2e241f"/><circle cx="160" cy="275" r="58" fill="#16402a"/>
  <rect x="262" y="320" width="16" height="76" fill="#2e241f"/><circle cx="270" cy="300" r="44" fill="#16402a"/>
</svg>`;

/** A page with headings, columns of text, a chart and a table: what encoders of language models read. */
function page() {
  const bars = [62, 118, 85, 150, 104, 132];
  const text = [
    'Every line of this page was written', 'by a script, so that an encoder has', 'words to read. Patches of text differ', 'from those of paper; a heading stands',
    'out from the lines below it, and the', 'bars of a chart from its axis. Which', 'block of the encoder tells them apart?', 'Move the slider and see.',
  ];
  const lines = (x, y) => text.map((line, i) => `<text x="${x}" y="${y + 21 * i}" font-size="14">${line}</text>`).join('');
  return `<svg xmlns="http://www.w3.org/2000/svg" width="560" height="640" font-family="DejaVu Serif" fill="#222">
  <rect width="560" height="640" fill="#d9d4c7"/><rect x="24" y="20" width="512" height="600" fill="#fdfcf8"/>
  <text x="48" y="78" font-size="34" font-weight="bold">The Daily Patch</text>
  <rect x="48" y="94" width="464" height="2"/><text x="48" y="116" font-size="12" fill="#777">No. 14 · fourteen pixels by fourteen</text>
  ${lines(48, 152)}
  <rect x="340" y="136" width="172" height="172" fill="#e8eef5"/><circle cx="426" cy="210" r="44" fill="#c8553d"/><path d="M352 300 L398 238 L432 278 L462 246 L502 300 Z" fill="#3d6b8c"/>
  <text x="48" y="360" font-size="22" font-weight="bold">Bars and rows</text>
  <path d="M60 380 V550 H300" fill="none" stroke="#222" stroke-width="2"/>
  ${bars.map((height, i) => `<rect x="${74 + 37 * i}" y="${549 - height}" width="25" height="${height}" fill="${i === 3 ? '#c8553d' : '#3d6b8c'}"/><text x="${80 + 37 * i}" y="570" font-size="12">${i + 1}</text>`).join('')}
  ${bars.map((height, i) => `<rect x="336" y="${380 + 30 * i}" width="176" height="30" fill="${i % 2 === 0 ? '#eceae2' : '#fdfcf8'}"/><text x="350" y="${400 + 30 * i}" font-size="14">Row ${i + 1}</text><text x="470" y="${400 + 30 * i}" font-size="14">${height}</text>`).join('')}
  <text x="48" y="602" font-size="11" fill="#777">Drawn for the preview of a vision encoder.</text>
</svg>`;
}

const BALLS = [
  { at: [-1.9, 1, 6.2], radius: 1, colour: [0.82, 0.2, 0.18] }, { at: [0.4, 0.7, 5], radius: 0.7, colour: [0.95, 0.75, 0.2] },
  { at: [2.4, 1.2, 7.4], radius: 1.2, colour: [0.82, 0.2, 0.18] }, { at: [1.7, 0.45, 4.1], radius: 0.45, colour: [0.2, 0.45, 0.8] },
  { at: [-0.9, 0.4, 3.9], radius: 0.4, colour: [0.2, 0.45, 0.8] }, { at: [-0.2, 1.4, 9.5], radius: 1.4, colour: [0.25, 0.6, 0.35] },
  { at: [-3.6, 0.8, 8.8], radius: 0.8, colour: [0.95, 0.75, 0.2] },
];
const LIGHT = normalised([-0.55, 0.75, -0.45]);

function dot(a, b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }
function along(from, direction, t) { return from.map((value, i) => value + direction[i] * t); }
function normalised(v) { return v.map(value => value / Math.hypot(...v)); }

/** The nearest ball that a ray meets. */
function meets(from, direction) {
  let nearest;
  for (const ball of BALLS) {
    const to = ball.at.map((value, i) => value - from[i]);
    const middle = dot(to, direction);
    const inside = ball.radius ** 2 - dot(to, to) + middle ** 2;
    const t = middle - Math.sqrt(inside);
    if (inside > 0 && t > 1e-3 && (nearest === undefined || t < nearest.t)) nearest = { ball, t };
  }
  return nearest;
}

/** Light along a ray, red, green and blue from 0 to 1: balls that mirror each other on a chequered floor under a sky. */
function trace(from, direction, depth = 0) {
  const hit = meets(from, direction);
  const floor = direction[1] < 0 ? -from[1] / direction[1] : Infinity;
  if (hit === undefined && floor > 60) {
    const height = Math.max(0, direction[1]);
    return [0.75 - 0.5 * height, 0.85 - 0.4 * height, 0.95 - 0.2 * height];
  }
  const onBall = hit !== undefined && hit.t < floor;
  const at = along(from, direction, onBall ? hit.t : floor);
  const normal = onBall ? normalised(at.map((value, i) => value - hit.ball.at[i])) : [0, 1, 0];
  const light = (Math.floor(at[0]) + Math.floor(at[2])) % 2 === 0;
  const colour = onBall ? hit.ball.colour : light ? [0.85, 0.82, 0.76] : [0.35, 0.34, 0.36];
  const lit = meets(at, LIGHT) === undefined ? Math.max(0, dot(normal, LIGHT)) : 0;
  const mirror = depth < 2 ? onBall ? 0.18 : 0.06 : 0;
  const back = mirror > 0 ? trace(at, along(direction, normal, -2 * dot(direction, normal)), depth + 1) : [0, 0, 0];
  const shine = onBall && lit > 0 ? Math.max(0, dot(normal, normalised(along(LIGHT, direction, -1)))) ** 60 * 0.6 : 0;
  const haze = onBall ? 0 : Math.min(1, (floor / 60) ** 2);
  return colour.map((value, i) => (value * (0.25 + 0.75 * lit) * (1 - mirror) + mirror * back[i] + shine) * (1 - haze) + haze * [0.75, 0.85, 0.95][i]);
}

/** A rendered scene, with what drawings lack: shading, shadows, reflections, depth. Each pixel is the mean of 2 x 2 rays. */
function balls(width, height) {
  const pixels = Buffer.alloc(width * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const rays = [0.25, 0.75].flatMap(v => [0.25, 0.75].map(u => trace([0, 1.7, -1], normalised([(x + u - width / 2) / width, (height * 0.42 - y - v) / width, 0.95]))));
      for (let c = 0; c < 3; c++) pixels[3 * (y * width + x) + c] = Math.round(255 * Math.min(1, rays.reduce((sum, ray) => sum + ray[c], 0) / 4) ** (1 / 1.6));
    }
  }
  return sharp(pixels, { raw: { width, height, channels: 3 } });
}

await mkdir(folder, { recursive: true });
await sharp(Buffer.from(NIGHT)).png({ palette: true, colours: 128, effort: 10 }).toFile(path.join(folder, 'night.png'));
await sharp(Buffer.from(page())).png({ palette: true, colours: 64, effort: 10 }).toFile(path.join(folder, 'page.png'));
await balls(640, 480).jpeg({ quality: 86, mozjpeg: true }).toFile(path.join(folder, 'balls.jpg'));
