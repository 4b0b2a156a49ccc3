/**
 * The one class of error whose message is meant for the person at the screen:
 * a sentence that says what is wrong, where, and what to do. Everything else
 * that is thrown is a defect of ours and is reported with its stack.
 */
export class UserError extends Error {
  override readonly name = 'UserError';
  /** Technical detail for the output channel or `--verbose`; never needed to understand the message. */
  readonly detail: string | undefined;
  readonly remedy: Remedy | undefined;

  constructor(message: string, options: { detail?: string | undefined; remedy?: Remedy | undefined; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.detail = options.detail;
    this.remedy = options.remedy;
  }
}

/**
 * A way out that is an option where the error is told on the command line, which then names it (src/cli/remedies.ts). The
 * message itself says what helps everywhere: the same error is shown in the editor, where there are no options.
 */
export type Remedy = 'replace' | 'start over' | 'choose a resize' | 'resize to one size' | 'recognise the family';

/** A file could not be reached or was refused, which says nothing about what is in it. */
export class AccessError extends UserError {}

/** A cancelled run that has left what it had done, to be continued; its message says what. */
export class Interrupted extends Error {
  override readonly name = 'AbortError';
}

/** Whether `error` is what an aborted AbortSignal throws. A cancelled run is not a failure. */
export function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError';
}

/** A Node.js system error (`ENOENT`, `EACCES`, `ENOSPC`, ...). */
export function systemErrorCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}
