import { t } from '@vscode/l10n';
/** The picture formats that decodeImage reads. */
export type ImageFormat = 'JPEG' | 'PNG' | 'WebP' | 'GIF' | 'AVIF' | 'TIFF' | 'BMP';

/** Extensions of their files, lower-case. */
export const PICTURE_EXTENSIONS = ['jpg', 'jpeg', 'png', 'webp', 'gif', 'avif', 'tif', 'tiff', 'bmp'];

/** What a file's first bytes say it is. */
export type Sniffed =
  | { readonly kind: 'picture'; readonly format: ImageFormat }
  /** Something else: a noun phrase for the message, and what to do about it. */
  | { readonly kind: 'other'; readonly what: string; readonly advice: string };

const convert = t('Convert it to PNG or JPEG.');
const fetchAgain = t('Download the picture itself.');

const signatures: readonly { readonly at: number; readonly bytes: string; readonly is: ImageFormat | { what: string; advice: string } }[] = [
  { at: 0, bytes: '\xff\xd8\xff', is: 'JPEG' },
  { at: 0, bytes: '\x89PNG\r\n\x1a\n', is: 'PNG' },
  { at: 8, bytes: 'WEBP', is: 'WebP' },
  { at: 0, bytes: 'GIF87a', is: 'GIF' },
  { at: 0, bytes: 'GIF89a', is: 'GIF' },
  { at: 0, bytes: 'II*\0', is: 'TIFF' },
  { at: 0, bytes: 'MM\0*', is: 'TIFF' },
  { at: 0, bytes: 'II+\0', is: 'TIFF' },
  { at: 0, bytes: 'MM\0+', is: 'TIFF' },
  { at: 0, bytes: 'BM', is: 'BMP' },
  { at: 0, bytes: 'version https://git-lfs', is: { what: t('a Git LFS pointer'), advice: t('Run "git lfs pull" to fetch the picture itself.') } },
  { at: 0, bytes: '%PDF-', is: { what: t('a PDF document'), advice: convert } },
  { at: 0, bytes: '8BPS', is: { what: t('a Photoshop document'), advice: convert } },
  { at: 0, bytes: '\xff\x0a', is: { what: t('a JPEG XL picture'), advice: convert } },
  { at: 0, bytes: '\0\0\0\x0cJXL ', is: { what: t('a JPEG XL picture'), advice: convert } },
  { at: 0, bytes: '\0\0\0\x0cjP  ', is: { what: t('a JPEG 2000 picture'), advice: convert } },
  { at: 0, bytes: 'PK\x03\x04', is: { what: t('a ZIP archive'), advice: t('Unpack it first.') } },
];

/** Tells a picture by its content, never by its name. */
export function sniff(bytes: Uint8Array): Sniffed {
  const head = latin1(bytes.subarray(0, 512));
  if (head.slice(4, 8) === 'ftyp') return sniffHeif(head);
  for (const { at, bytes: signature, is } of signatures) {
    if (!head.startsWith(signature, at)) continue;
    return typeof is === 'string' ? { kind: 'picture', format: is } : { kind: 'other', ...is };
  }
  const text = head.replace(/^\xef\xbb\xbf/, '').trimStart().toLowerCase();
  if (text.startsWith('<!doctype html') || text.startsWith('<html')) return { kind: 'other', what: t('a web page'), advice: fetchAgain };
  if (/^(<\?xml[^>]*>\s*|<!--[^]*?-->\s*|<!doctype svg[^>]*>\s*)*<svg/.test(text)) return { kind: 'other', what: t('an SVG drawing'), advice: t('Export it as PNG in the size you want.') };
  if (/^[{[]\s*["{[\]}]/.test(text)) return { kind: 'other', what: t('a JSON text'), advice: fetchAgain };
  return { kind: 'other', what: t('no picture that can be read here'), advice: t('JPEG, PNG, WebP, GIF, AVIF, TIFF and BMP are.') };
}

/** ISO/IEC 23008-12: the major brand and the compatible ones, four letters each, fill the ftyp box. */
function sniffHeif(head: string): Sniffed {
  const length = (head.charCodeAt(0) << 24 | head.charCodeAt(1) << 16 | head.charCodeAt(2) << 8 | head.charCodeAt(3)) >>> 0;
  const brands: readonly string[] = head.slice(8, length).match(/[^]{4}/g) ?? [];
  if (brands.includes('avif') || brands.includes('avis')) return { kind: 'picture', format: 'AVIF' };
  if (brands.some(brand => ['heic', 'heix', 'hevc', 'mif1', 'msf1'].includes(brand))) return { kind: 'other', what: t('a HEIC picture'), advice: convert };
  return { kind: 'other', what: t('a video'), advice: t('Save one of its frames as PNG or JPEG.') };
}

function latin1(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}
