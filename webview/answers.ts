import type { Answers, Question } from '../src/protocol';
import type { Host } from './host';

/** More answers than this are not kept; a map is a few kilobytes. */
const KEPT = 1024;

/** Answers of the host, each asked for once: scrubbing over layers that were seen needs nobody. */
export class AnswerCache {
  private readonly answers = new Map<string, Promise<unknown>>();
  private settled = new Map<string, unknown>();

  constructor(private readonly host: Host) {}

  /** @throws Error with a sentence for the person */
  ask<Type extends Question['type']>(question: Extract<Question, { type: Type }>): Promise<Answers[Type]> {
    const key = JSON.stringify(question);
    const known = this.answers.get(key);
    // Answers are kept by their question, whose type they have.
    if (known !== undefined) return known as Promise<Answers[Type]>;
    const asked = this.host.ask<Type>(question);
    this.answers.set(key, asked);
    const { settled } = this;
    asked.then(answer => { settled.set(key, answer); }, () => { this.answers.delete(key); });
    for (const old of [...this.answers.keys()].slice(0, Math.max(0, this.answers.size - KEPT))) {
      this.answers.delete(old);
      this.settled.delete(old);
    }
    return asked;
  }

  /** Whether the answer is here already. */
  has(question: Question): boolean {
    return this.settled.has(JSON.stringify(question));
  }

  /** What was encoded has changed. */
  clear(): void {
    this.answers.clear();
    this.settled = new Map();
  }
}
