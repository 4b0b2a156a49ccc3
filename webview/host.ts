import type { FromWebview, Reply, ToWebview } from '../src/protocol';

interface VsCodeApi {
  postMessage(message: FromWebview): void;
}
declare function acquireVsCodeApi(): VsCodeApi;

type Asking = Extract<FromWebview, { request: number }>;
/** A question without its number; the host's answer carries the same one. */
export type Question = Asking extends infer Each ? Each extends Asking ? Omit<Each, 'request'> : never : never;

/** The webview's end of the typed channel to the extension host. */
export class Host {
  private readonly api = acquireVsCodeApi();
  private readonly waiting = new Map<number, (reply: Reply) => void>();
  private next = 0;

  /** Calls `handle` for every message that is not an answer. */
  listen(handle: (message: Exclude<ToWebview, { type: 'reply' }>) => void): void {
    window.addEventListener('message', (event: MessageEvent<ToWebview>) => {
      const message = event.data;
      if (message.type !== 'reply') {
        handle(message);
        return;
      }
      this.waiting.get(message.request)?.(message.reply);
      this.waiting.delete(message.request);
    });
  }

  post(message: FromWebview): void {
    this.api.postMessage(message);
  }

  ask(question: Question): Promise<Reply> {
    const request = this.next++;
    return new Promise(resolve => {
      this.waiting.set(request, resolve);
      this.api.postMessage({ ...question, request });
    });
  }
}
