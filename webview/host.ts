import { answerSchemas, toWebviewSchema, type Answers, type FromWebview, type PanelState, type Question, type ToWebview } from '../src/protocol';

interface VsCodeApi {
  postMessage(message: FromWebview): void;
  /** Kept by VS Code with the page, and given back over a reload of the window. */
  setState(state: PanelState): void;
}
declare function acquireVsCodeApi(): VsCodeApi;

type Reply = Extract<ToWebview, { type: 'reply' }>['reply'];

/** The webview's end of the typed channel to the extension host. What arrives is validated. */
export class Host {
  private readonly api = acquireVsCodeApi();
  private readonly waiting = new Map<number, (reply: Reply) => void>();
  private next = 0;

  /** Calls `handle` for every message that is not an answer, and `onInvalid` for what is no message. */
  listen(handle: (message: Exclude<ToWebview, { type: 'reply' }>) => void, onInvalid: (problem: string) => void): void {
    window.addEventListener('message', ({ data }: MessageEvent<unknown>) => {
      const parsed = toWebviewSchema.safeParse(data);
      if (!parsed.success) {
        onInvalid(parsed.error.message);
        return;
      }
      const message = parsed.data;
      if (message.type !== 'reply') {
        handle(message);
        return;
      }
      this.waiting.get(message.request)?.(message.reply);
      this.waiting.delete(message.request);
    });
  }

  post(message: FromWebview): void {
    if (message.type === 'state') this.api.setState(message.state);
    this.api.postMessage(message);
  }

  /** @throws Error with a sentence for the person when the question cannot be answered */
  ask<Type extends Question['type']>(question: Extract<Question, { type: Type }>): Promise<Answers[Type]> {
    const request = this.next++;
    return new Promise((resolve, reject) => {
      this.waiting.set(request, reply => {
        if ('failure' in reply) {
          reject(new Error(reply.failure));
          return;
        }
        const parsed = answerSchemas[question.type].safeParse(reply.answer);
        // The schema is the one of this question's type.
        if (parsed.success) resolve(parsed.data as Answers[Type]);
        else reject(new Error(parsed.error.message));
      });
      this.api.postMessage({ type: 'ask', request, question });
    });
  }
}
