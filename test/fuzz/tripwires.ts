import childProcess from 'node:child_process';
import { syncBuiltinESMExports } from 'node:module';
import vm from 'node:vm';

/** What no parser may do. Each is replaced by a function that notes it; the list is what was noted. */
export function layTripwires(): { readonly tripped: string[]; remove(): void } {
  const tripped: string[] = [];
  const undo: (() => void)[] = [];
  const replace = (owner: object, name: string): void => {
    const original: unknown = Reflect.get(owner, name);
    const trap = function (): never {
      tripped.push(name);
      throw new Error(`${name} was called`);
    };
    Reflect.set(owner, name, trap);
    undo.push(() => { Reflect.set(owner, name, original); });
  };
  for (const name of ['spawn', 'spawnSync', 'exec', 'execSync', 'execFile', 'execFileSync', 'fork']) replace(childProcess, name);
  for (const name of ['runInContext', 'runInNewContext', 'runInThisContext', 'compileFunction', 'Script']) replace(vm, name);
  for (const name of ['eval', 'Function']) replace(globalThis, name);
  replace(process, 'dlopen');
  syncBuiltinESMExports();
  return {
    tripped,
    remove() {
      for (const step of undo) step();
      syncBuiltinESMExports();
    },
  };
}
