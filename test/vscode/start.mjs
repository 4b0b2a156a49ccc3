// `npm start [-- --port N]`: a real VS Code with the extension, open on the demo checkpoint.
import { spawn, spawnSync } from 'node:child_process';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { makeDemo } from '../demo/makeDemo.mjs';
import { startServer } from './server.mjs';

const root = path.resolve(import.meta.dirname, '../..');
const landing = path.join(import.meta.dirname, 'landing');

/** Ends with the child's exit code when it fails. */
function runNode(script) {
  const { status } = spawnSync(process.execPath, [script], { cwd: root, stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
}

function hasCode() {
  return spawnSync('code', ['--version'], { stdio: 'ignore' }).status === 0;
}

function openDesktop(folder) {
  console.log('Opening VS Code (the command "code" is on the PATH) ...');
  const child = spawn('code', ['--new-window', `--extensionDevelopmentPath=${root}`, `--extensionDevelopmentPath=${landing}`, folder], { stdio: 'inherit' });
  child.once('exit', code => { process.exitCode = code ?? 1; });
}

async function serve(folder, port) {
  const server = await startServer({ extensions: [root, landing], port });
  process.exitCode = 0; // Ctrl+C is how this ends
  void server.exited.then(async () => {
    console.error(`VS Code's server has ended by itself:\n${server.readLog().slice(-3000)}`);
    await server.stop();
    process.exit(1);
  });
  console.log(`\nVS Code is running with the extension and the demo checkpoint in ${path.relative(process.cwd(), folder)}. Ctrl+C ends it. Open:\n`);
  console.log(server.url(folder));
}

const { values } = parseArgs({ options: { port: { type: 'string' } } });
const port = Number(values.port ?? 0);
if (!Number.isInteger(port) || port < 0 || port > 65535) {
  console.error(`--port ${values.port} is not a port: give a number from 1 to 65535, or none for any free one.`);
  process.exit(2);
}
runNode('esbuild.mjs');
const folder = await makeDemo();
if (values.port === undefined && hasCode()) openDesktop(folder);
else await serve(folder, port);
