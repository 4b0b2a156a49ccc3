import { readdirSync } from 'node:fs';
import path from 'node:path';
import { format } from 'node:util';
import Mocha from 'mocha';
import { findExtension } from './extension';

/** VS Code calls this inside the extension host: runs every test bundle beside this one. */
export async function run(): Promise<void> {
  Mocha.reporters.Base.consoleLog = (...args: unknown[]) => { console.log(`[test]${format(...args)}`); }; // told from VS Code's own log by the mark
  const mocha = new Mocha({ timeout: 20_000, forbidOnly: true, reporter: path.join(findExtension().extensionPath, 'test/reporter.cjs') });
  for (const file of readdirSync(__dirname).filter(name => name.endsWith('.test.js')).sort()) mocha.addFile(path.join(__dirname, file));
  await new Promise<void>((resolve, reject) => {
    mocha.run(failures => {
      if (failures === 0) resolve();
      else reject(new Error(`${failures} failed`));
    });
  });
}
