import { isAbsolute, win32 } from 'node:path';

/**
 * Whether a name from outside stays inside a store. Refused are absolute names, `..`, drive letters, and backslashes,
 * which Windows takes for slashes; and control characters, which no real file name has.
 */
export function isStoredName(name: string): boolean {
  return name !== '' && !isAbsolute(name) && !win32.isAbsolute(name) && !/^[a-z]:/i.test(name)
    && !name.includes('\\') && !/\p{Cc}/u.test(name) && !name.split('/').includes('..');
}
