// A picture with large shapes and plain colours, so that an encoder's patches differ where a person sees a difference.
import sharp from 'sharp';

const SCENE = `<svg xmlns="http://www.w3.org/2000/svg" width="640" height="480">
  <defs><linearGradient id="sky" x2="0" y2="1"><stop offset="0" stop-color="#3d7ab8"/><stop offset="1" stop-color="#cfe3f2"/></linearGradient></defs>
  <rect width="640" height="480" fill="url(#sky)"/>
  <circle cx="520" cy="95" r="48" fill="#ffd75e"/>
  <path d="M0 330 L150 170 L290 330 Z M210 330 L390 130 L580 330 Z" fill="#6b7a8f"/>
  <rect y="320" width="640" height="160" fill="#4f8a4b"/>
  <rect x="120" y="270" width="150" height="120" fill="#b5533c"/>
  <path d="M100 275 L195 195 L290 275 Z" fill="#70352a"/>
  <rect x="178" y="325" width="36" height="65" fill="#3b2a20"/>
  <rect x="420" y="300" width="20" height="90" fill="#5c4430"/>
  <circle cx="430" cy="275" r="58" fill="#2f6b35"/>
</svg>`;

export async function drawPicture(file) {
  await sharp(Buffer.from(SCENE)).png().toFile(file);
}
