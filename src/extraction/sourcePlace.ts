/**
 * Where the source is that a manifest names. The manifest came with a folder, perhaps from a stranger, so that its
 * words are not yet the person's: what is not on this disk is opened only when the person says so.
 * - disk: an absolute path of this system, to be opened unasked;
 * - network: an address, or a share on another machine: opening it tells that machine who asks, and may send credentials;
 * - foreign: no absolute path of this system.
 */
export type SourcePlace = 'disk' | 'network' | 'foreign';

/** Windows' shares and devices (`\\server\share`, `//server/share`, `\\?\...`) count as network on every system. */
export function sourcePlace(location: string, platform: NodeJS.Platform = process.platform): SourcePlace {
  if (/^[\\/]{2}/.test(location) || /^[a-z][a-z0-9+.-]+:\/\//i.test(location)) return 'network';
  return (platform === 'win32' ? /^[a-z]:[\\/]/i : /^\//).test(location) ? 'disk' : 'foreign';
}
