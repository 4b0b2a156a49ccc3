import { isUtf8 } from 'node:buffer';
import { t } from '@vscode/l10n';
import { UserError } from '../../errors';
import { PickleByteReader } from './pickleBytes';
import {
  PickleDict, PickleGlobal, PickleList, PickleObject, PicklePersistent, PickleSet, PickleTuple, type PickleValue,
} from './pickleValue';
import { quoted } from '../wording';

export interface UnpickleOptions {
  /** What to call the file in a message. */
  readonly name: string;
  /** Whether the pickle may mention `global` at all; a false answer refuses the whole pickle. */
  readonly allowGlobal: (global: PickleGlobal) => boolean;
}

/** The pickle names a global that is not allowed. */
export class ForbiddenGlobal extends UserError {}

export interface Unpickled {
  readonly value: PickleValue;
  /** Every persistent id that was met, in order. */
  readonly persistents: readonly PicklePersistent[];
  /** Offset of the first byte after STOP. */
  readonly end: number;
}

/**
 * Reads one pickle of protocol 0 to 5 from `bytes`, `start` on, into inert values. It imports
 * nothing, calls nothing and does not recurse; time and memory are linear in the pickle's bytes.
 * Opcodes: https://github.com/python/cpython/blob/main/Lib/pickletools.py
 * @throws UserError for a broken pickle; ForbiddenGlobal; PickleTruncated when `bytes` end too early.
 */
export function unpickle(bytes: Uint8Array, start: number, options: UnpickleOptions): Unpickled {
  const machine = new Machine(new PickleByteReader(bytes, start, options.name), options);
  for (;;) {
    const opcode = machine.reader.uint8();
    if (opcode === STOP) break;
    const handler = HANDLERS[opcode];
    if (handler === undefined) throw machine.reader.error(t`byte 0x${opcode.toString(16).padStart(2, '0')} is not a pickle instruction`);
    handler(machine);
  }
  return { value: machine.pop(), persistents: machine.persistents, end: machine.reader.position };
}

/** Enough for half a million tensors; what keeps a hostile pickle from filling the memory with empty containers. */
const MAX_CONTAINERS = 4_000_000;
const MAX_STACK = 4_000_000;
const MAX_MEMO = 4_000_000;

/** Python 2's names of modules that Python 3 renamed. */
const RENAMED_MODULES: ReadonlyMap<string, string> = new Map([['__builtin__', 'builtins'], ['copy_reg', 'copyreg']]);

class Machine {
  readonly persistents: PicklePersistent[] = [];
  private readonly stack: PickleValue[] = [];
  /** Stack heights at each MARK. */
  private readonly marks: number[] = [];
  private readonly memo: (PickleValue | undefined)[] = [];
  private memoized = 0;
  private containers = 0;
  /** Those named so far: some pickles spell them out for every tensor. */
  private readonly globals = new Map<string, PickleGlobal>();

  constructor(readonly reader: PickleByteReader, private readonly options: UnpickleOptions) {}

  push(value: PickleValue): void {
    if (typeof value === 'object' && value !== null && ++this.containers > MAX_CONTAINERS) {
      throw this.reader.error(t`it makes more than ${MAX_CONTAINERS} objects`);
    }
    this.pushShared(value);
  }

  /** Pushes a value that exists already, so that it does not count again. */
  private pushShared(value: PickleValue): void {
    if (this.stack.length >= MAX_STACK) throw this.reader.error(t('its stack grows without bound'));
    this.stack.push(value);
  }

  pop(): PickleValue {
    if (this.stack.length <= (this.marks.at(-1) ?? 0)) throw this.reader.error(t('it takes more from its stack than it put there'));
    const value = this.stack.pop();
    if (value === undefined) throw this.reader.error(t('its stack is empty'));
    return value;
  }

  private top(): PickleValue {
    const value = this.pop();
    this.stack.push(value);
    return value;
  }

  mark(): void {
    if (this.marks.length >= MAX_STACK) throw this.reader.error(t('its stack grows without bound'));
    this.marks.push(this.stack.length);
  }

  popMark(): PickleValue[] {
    const height = this.marks.pop();
    if (height === undefined) throw this.reader.error(t('it needs a MARK that is not there'));
    return this.stack.splice(height);
  }

  discard(): void {
    if (this.marks.at(-1) === this.stack.length) this.marks.pop();
    else this.pop();
  }

  duplicate(): void {
    this.pushShared(this.top());
  }

  get(index: number): void {
    const value = this.memo[index];
    if (value === undefined) throw this.reader.error(t`it refers to memo ${index}, which was never stored`);
    this.pushShared(value);
  }

  put(index: number): void {
    if (index >= MAX_MEMO) throw this.reader.error(t('its memo grows without bound'));
    if (this.memo[index] === undefined) this.memoized++;
    this.memo[index] = this.top();
  }

  memoize(): void {
    this.put(this.memoized);
  }

  tuple(length: number): void {
    const items: PickleValue[] = [];
    for (let i = 0; i < length; i++) items.push(this.pop());
    this.push(new PickleTuple(items.reverse()));
  }

  pushDict(items: readonly PickleValue[]): void {
    const dict = new PickleDict();
    this.setEntries(dict.entries, items);
    this.push(dict);
  }

  global(module: string, name: string): PickleGlobal {
    const known = this.globals.get(`${module}\n${name}`);
    if (known !== undefined) return known;
    const global = new PickleGlobal(RENAMED_MODULES.get(module) ?? module, name);
    if (!this.options.allowGlobal(global)) {
      throw new ForbiddenGlobal(
        t`${this.options.name} wants Python to import ${quoted(global.path)} when it is loaded, which tensors do not need. It was refused and nothing was run. Get the safetensors version of this checkpoint, or, if you trust its source, save the weights alone again with torch.save(model.state_dict(), ...).`,
        { detail: `Pickle global ${quoted(global.module)} ${quoted(global.name)} at byte ${this.reader.position}.` },
      );
    }
    this.globals.set(`${module}\n${name}`, global);
    return global;
  }

  stackGlobal(): void {
    const name = this.pop();
    const module = this.pop();
    if (typeof name !== 'string' || typeof module !== 'string') throw this.reader.error(t('it names a global by something that is not text'));
    this.push(this.global(module, name));
  }

  /** REDUCE, NEWOBJ: the callable and its tuple of arguments lie on the stack. */
  reduce(): void {
    const args = this.pop();
    const callable = this.pop();
    if (!(args instanceof PickleTuple)) throw this.reader.error(t('it calls something with arguments that are no tuple'));
    this.makeObject(callable, args.items);
  }

  newObjectWithKeywords(): void {
    const keywords = this.pop();
    if (!(keywords instanceof PickleDict)) throw this.reader.error(t('it passes keyword arguments that are no dict'));
    this.reduce();
  }

  /** OBJ: the class is the first value after the MARK. */
  object(): void {
    const [callable, ...args] = this.popMark();
    if (callable === undefined) throw this.reader.error(t('it makes an object without a class'));
    this.makeObject(callable, args);
  }

  makeObject(callable: PickleValue, args: readonly PickleValue[]): void {
    if (!(callable instanceof PickleGlobal)) throw this.reader.error(t('it calls something that is not a global'));
    this.push(new PickleObject(callable, args));
  }

  build(): void {
    const state = this.pop();
    const target = this.top();
    if (!(target instanceof PickleObject)) throw this.reader.error(t('it sets the state of something that is not an object'));
    target.state = state;
  }

  append(items: readonly PickleValue[]): void {
    const target = this.top();
    if (target instanceof PickleList) pushAll(target.items, items);
    else if (target instanceof PickleObject) pushAll(target.items ??= [], items);
    else throw this.reader.error(t('it appends to something that is not a list'));
  }

  addItems(items: readonly PickleValue[]): void {
    const target = this.top();
    if (target instanceof PickleSet) pushAll(target.items, items);
    else if (target instanceof PickleObject) pushAll(target.items ??= [], items);
    else throw this.reader.error(t('it adds to something that is not a set'));
  }

  setItems(items: readonly PickleValue[]): void {
    const target = this.top();
    if (target instanceof PickleDict) this.setEntries(target.entries, items);
    else if (target instanceof PickleObject) this.setEntries(target.entries ??= new Map<PickleValue, PickleValue>(), items);
    else throw this.reader.error(t('it sets items of something that is not a dict'));
  }

  private setEntries(entries: Map<PickleValue, PickleValue>, items: readonly PickleValue[]): void {
    for (let i = 0; i < items.length; i += 2) {
      const key = items[i];
      const value = items[i + 1];
      if (key === undefined || value === undefined) throw this.reader.error(t('it gives a dict a key without a value'));
      if (key instanceof PickleList || key instanceof PickleDict || key instanceof PickleSet) {
        throw this.reader.error(t('it uses a list, dict or set as the key of a dict'));
      }
      entries.set(key, value);
    }
  }

  persistent(id: PickleValue): void {
    const persistent = new PicklePersistent(id);
    this.persistents.push(persistent);
    this.push(persistent);
  }

  protocol(): void {
    const version = this.reader.uint8();
    if (version > 5) throw this.reader.error(t`it is of pickle protocol ${version}, and 5 is the newest known`);
  }

  refuse(what: string): never {
    throw this.reader.error(t`it needs ${what}, which a checkpoint never does`);
  }
}

/** `target.push(...items)` without its limit on arguments. */
function pushAll(target: PickleValue[], items: readonly PickleValue[]): void {
  for (const item of items) target.push(item);
}

/** A Python 2 str: text when it is UTF-8, as torch.load reads it, else the bytes. */
function textOrBytes(bytes: Uint8Array): string | Uint8Array {
  return isUtf8(bytes) ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8') : bytes;
}

const STOP = 0x2e;

const OPCODES: Readonly<Record<string, (m: Machine) => void>> = {
  // Stack and memo
  '(': m => { m.mark(); },
  '0': m => { m.discard(); },
  '1': m => { m.popMark(); },
  '2': m => { m.duplicate(); },
  'g': m => { m.get(m.reader.decimalLine()); },
  'h': m => { m.get(m.reader.uint8()); },
  'j': m => { m.get(m.reader.uint32()); },
  'p': m => { m.put(m.reader.decimalLine()); },
  'q': m => { m.put(m.reader.uint8()); },
  'r': m => { m.put(m.reader.uint32()); },
  '\x94': m => { m.memoize(); },
  // Constants and numbers
  'N': m => { m.push(null); },
  '\x88': m => { m.push(true); },
  '\x89': m => { m.push(false); },
  'I': m => { m.push(m.reader.intLine()); },
  'J': m => { m.push(m.reader.int32()); },
  'K': m => { m.push(m.reader.uint8()); },
  'M': m => { m.push(m.reader.uint16()); },
  'L': m => { m.push(m.reader.longLine()); },
  '\x8a': m => { m.push(m.reader.long(m.reader.uint8())); },
  '\x8b': m => { m.push(m.reader.long(m.reader.uint32())); },
  'F': m => { m.push(m.reader.floatLine()); },
  'G': m => { m.push(m.reader.float64()); },
  // Text and bytes
  'V': m => { m.push(m.reader.unicodeLine()); },
  'X': m => { m.push(m.reader.utf8(m.reader.uint32())); },
  '\x8c': m => { m.push(m.reader.utf8(m.reader.uint8())); },
  '\x8d': m => { m.push(m.reader.utf8(m.reader.uint64())); },
  'S': m => { m.push(textOrBytes(m.reader.quotedLine())); },
  'T': m => { m.push(textOrBytes(m.reader.take(m.reader.uint32()))); },
  'U': m => { m.push(textOrBytes(m.reader.take(m.reader.uint8()))); },
  'B': m => { m.push(m.reader.take(m.reader.uint32())); },
  'C': m => { m.push(m.reader.take(m.reader.uint8())); },
  '\x8e': m => { m.push(m.reader.take(m.reader.uint64())); },
  '\x96': m => { m.push(m.reader.take(m.reader.uint64())); },
  // Containers
  ')': m => { m.push(new PickleTuple([])); },
  '\x85': m => { m.tuple(1); },
  '\x86': m => { m.tuple(2); },
  '\x87': m => { m.tuple(3); },
  't': m => { m.push(new PickleTuple(m.popMark())); },
  ']': m => { m.push(new PickleList([])); },
  'l': m => { m.push(new PickleList(m.popMark())); },
  'a': m => { m.append([m.pop()]); },
  'e': m => { m.append(m.popMark()); },
  '}': m => { m.push(new PickleDict()); },
  'd': m => { m.pushDict(m.popMark()); },
  's': m => { const value = m.pop(); m.setItems([m.pop(), value]); },
  'u': m => { m.setItems(m.popMark()); },
  '\x8f': m => { m.push(new PickleSet([])); },
  '\x90': m => { m.addItems(m.popMark()); },
  '\x91': m => { m.push(new PickleSet(m.popMark())); },
  // Names and what would be made with them
  'c': m => { m.push(m.global(m.reader.textLine(), m.reader.textLine())); },
  '\x93': m => { m.stackGlobal(); },
  'R': m => { m.reduce(); },
  '\x81': m => { m.reduce(); },
  '\x92': m => { m.newObjectWithKeywords(); },
  'i': m => { const callable = m.global(m.reader.textLine(), m.reader.textLine()); m.makeObject(callable, m.popMark()); },
  'o': m => { m.object(); },
  'b': m => { m.build(); },
  'P': m => { m.persistent(m.reader.textLine()); },
  'Q': m => { m.persistent(m.pop()); },
  // Framing
  '\x80': m => { m.protocol(); },
  '\x95': m => { m.reader.uint64(); },
  '\x82': m => m.refuse(t('the extension registry')),
  '\x83': m => m.refuse(t('the extension registry')),
  '\x84': m => m.refuse(t('the extension registry')),
  '\x97': m => m.refuse(t('buffers from outside the file')),
  '\x98': m => m.refuse(t('buffers from outside the file')),
};

const HANDLERS: readonly (((m: Machine) => void) | undefined)[] = Array.from({ length: 256 }, (_, byte) => OPCODES[String.fromCharCode(byte)]);
