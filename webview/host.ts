import type { Answers, FromWebview, Question, Reply, ToWebview } from '../src/protocol';

interface VsCodeApi {
  postMessage(message: FromWebview): void;
}
declare function acquireVsCodeApi(): VsCodeApi;

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

  /** @throws Error with a sentence for the person when the question cannot be answered */
  ask<Type extends Question['type']>(question: Extract<Question, { type: Type }>): Promise<Answers[Type]> {
    const request = this.next++;
    return new Promise((resolve, reject) => {
      this.waiting.set(request, reply => {
        // The host answers each question in its own type.
        if ('answer' in reply) resolve(reply.answer as Answers[Type]);
        else reject(new Error(reply.failure));
      });
      this.api.postMessage({ type: 'ask', request, question });
    });
  }
}
