import * as vscode from 'vscode';
import { formatBytes, formatDuration } from '../format';
import type { Progress, RunOptions } from '../progress';
import { unlinked } from '../views/markdown';
import { Meter } from './meter';

/** What takes no longer shows no notification. */
const PATIENCE_MS = 500;
const UPDATE_MS = 100;

/**
 * Runs a task with a notification that can cancel it; a short task shows none, at most the bar of `view`.
 * @param describe an amount of what the task counts, in words, with its rate; bytes unless told
 */
export async function withProgress<T>(title: string, task: (options: Required<RunOptions>) => Promise<T>, view?: string, describe: (progress: Progress, meter: Meter, now: number) => string = inBytes): Promise<T> {
  const controller = new AbortController();
  let latest: Progress | undefined;
  const running = task({ signal: controller.signal, onProgress: progress => { latest = progress; } });
  if (view !== undefined) void vscode.window.withProgress({ location: { viewId: view } }, () => settled(running));
  if (await Promise.race([settled(running).then(() => true), pause(PATIENCE_MS).then(() => false)])) return running;
  await vscode.window.withProgress({ location: vscode.ProgressLocation.Notification, title: unlinked(title), cancellable: true }, async (notification, token) => {
    const cancelling = token.onCancellationRequested(() => { controller.abort(); });
    const meter = new Meter();
    let percent = 0;
    const timer = setInterval(() => {
      if (latest === undefined || latest.total <= 0) return;
      const now = Math.min(100, (latest.done / latest.total) * 100);
      notification.report({ increment: now - percent, message: describe(latest, meter, Date.now()) });
      percent = now;
    }, UPDATE_MS);
    try {
      await settled(running);
    } finally {
      clearInterval(timer);
      cancelling.dispose();
    }
  });
  return running;
}

function inBytes({ done, total }: Progress, meter: Meter, now: number): string {
  const { rate, left } = meter.update(done, total, now);
  const amount = vscode.l10n.t('{0} of {1}', formatBytes(done), formatBytes(total));
  if (rate === undefined || left === undefined) return amount;
  return vscode.l10n.t('{0} · {1}/s · {2} left', amount, formatBytes(Math.round(rate)), formatDuration(left));
}

async function settled(task: Promise<unknown>): Promise<void> {
  await task.then(() => undefined, () => undefined);
}

function pause(milliseconds: number): Promise<void> {
  return new Promise(resolve => { setTimeout(resolve, milliseconds); });
}
