// `npm run soak [-- --previews 200 --extractions 100 --every 20]` after `npm run build`: previews and extractions in one window, by hand as it
// were, and what the extension host and the encoder's process hold meanwhile (Linux: from /proc). The table goes to NOTES.md beside this file.
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { cp, rm } from 'node:fs/promises';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { eventually, fixture, openCheckpoint, openWorkbench } from '../e2e/fixture.mjs';
import { PreviewPage } from '../e2e/previewPage.mjs';

const TINY = fixture('qwen-vl-tiny-safetensors');
const PICTURES = ['rgb.jpg', 'rgb8.png', 'lossy.webp', 'rgb24.bmp', 'lzw.tif', 'lossless.avif', 'progressive.jpg', 'rgba16.png'];
const ENCODER = path.resolve(import.meta.dirname, '../../dist/encoder.js');

const { values } = parseArgs({ options: { previews: { type: 'string', default: '200' }, extractions: { type: 'string', default: '100' }, every: { type: 'string', default: '20' } } });
const [previews, extractions, every] = [values.previews, values.extractions, values.every].map(Number);

const read = (pid, file) => readFileSync(`/proc/${pid}/${file}`, 'utf8');
const statusOf = (pid, name) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(read(pid, 'status'))?.[1]);
const processes = () => readdirSync('/proc').filter(name => /^\d+$/.test(name));

/** Something of a process that may have ended meanwhile. */
function attempt(task) {
  try {
    return task();
  } catch {
    return undefined;
  }
}

const encoders = () => processes().filter(pid => attempt(() => read(pid, 'cmdline').split('\0').includes(ENCODER)));

/** Memory, open files and sockets and threads. */
function look(pid) {
  const handles = readdirSync(`/proc/${pid}/fd`);
  const files = handles.map(handle => attempt(() => readlinkSync(`/proc/${pid}/fd/${handle}`))).filter(target => target?.startsWith('/') && !target.startsWith('/dev/'));
  return { megabytes: Math.round(statusOf(pid, 'VmRSS') / 1024), handles: handles.length, files: files.length, threads: statusOf(pid, 'Threads') };
}

const say = ({ megabytes, handles, files, threads }) => `${megabytes} MB | ${handles} (${files}) | ${threads}`;

const session = await openWorkbench({ settings: { 'visionEncoder.preview.device': 'cpu' }, fill: folder => cp(TINY, path.join(folder, 'tiny'), { recursive: true, filter: file => path.basename(file) !== 'expected.safetensors' }) });
try {
  const { workbench } = session;
  const preview = new PreviewPage(workbench);
  await openCheckpoint(workbench, path.join(session.folder, 'tiny'));
  await workbench.viewAction('Keys', 'Preview Features');
  await preview.button('Add picture…').waitFor();
  let before;
  let host;

  const previewOne = async round => {
    const name = `soak-${round}.${PICTURES[round % PICTURES.length].split('.')[1]}`;
    await preview.drop({ name, path: fixture(`pictures/${PICTURES[round % PICTURES.length]}`), type: 'image/png' });
    await preview.frame.getByRole('button', { name: `${name}, ready`, exact: true }).waitFor();
    if (before !== undefined) await preview.button(`Remove ${before}`).click();
    before = name;
    const [encoder] = encoders();
    host ??= String(statusOf(encoder, 'PPid'));
  };

  const extractOne = async round => {
    const out = path.join(session.folder, `out-${round}`);
    await workbench.inlineAction(workbench.row('Loads strictly', 'Validation'), 'Extract Vision Encoder');
    await workbench.quickInput.getByText('as safetensors into this folder.').waitFor();
    await workbench.quickInputBox().fill(out);
    await workbench.quickInputBox().press('Enter');
    await eventually(() => existsSync(path.join(out, 'manifest.json')), `Extraction ${round}`);
    await rm(out, { recursive: true });
    if (round % 5 === 0) await workbench.clearNotifications();
  };

  console.log('| previews | extractions | extension host: memory | handles (files) | threads | encoder: memory | handles (files) | threads | encoder processes |\n|---|---|---|---|---|---|---|---|---|');
  let extracted = 0;
  for (let done = 1; done <= previews; done++) {
    await previewOne(done);
    while (extracted < Math.floor(done * extractions / previews)) await extractOne(++extracted);
    if (done % every !== 0 && done !== 1) continue;
    const running = encoders();
    console.log(`| ${done} | ${extracted} | ${say(look(host))} | ${say(look(running[0]))} | ${running.length} |`);
  }
} finally {
  await session.close();
}
const left = encoders();
console.log(`Encoder processes after the window was closed: ${left.length}`);
process.exitCode = left.length === 0 ? 0 : 1;
