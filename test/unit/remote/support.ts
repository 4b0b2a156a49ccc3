import { join, resolve } from 'node:path';
import type { HubOptions } from '../../../src/remote/hubOptions';
import { HubServer, type HubServerOptions } from '../../support/hubServer';

export { inFolder, userError } from '../checkpoint/support';

export const FIXTURES = resolve('test/fixtures');
export const TINY = { safetensors: join(FIXTURES, 'qwen-vl-tiny-safetensors'), bin: join(FIXTURES, 'qwen-vl-tiny-bin') };

/** Options that know this server only, without the machine's own token and cache, and that do not wait. */
export function hubOptions(server: HubServer, options: HubOptions = {}): HubOptions {
  return { endpoint: server.endpoint, token: '', cache: false, firstDelay: 1, idleTimeout: 300, attempts: 4, ...options };
}

/** Runs `use` with a server that is closed afterwards. */
export async function withServer<T>(options: HubServerOptions, use: (server: HubServer) => Promise<T>): Promise<T> {
  const server = await HubServer.start(options);
  try {
    return await use(server);
  } finally {
    await server.close();
  }
}
