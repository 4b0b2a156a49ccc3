import * as vscode from 'vscode';
import { basename, dirname } from 'node:path';
import { UserError } from '../errors';

const QUIET_MS = 200;

/** Follows one file at a time, wherever on the disk it lies; many changes at once are told once. */
export class FileWatcher implements vscode.Disposable {
  private location: string | undefined;
  private watcher: vscode.Disposable | undefined;
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly onChange: (location: string) => Promise<void>, private readonly report: (error: unknown) => void) {}

  get watched(): string | undefined {
    return this.location;
  }

  /** Follows `location` from now on; undefined follows nothing. */
  watch(location: string | undefined): void {
    if (location === this.location) return;
    this.location = location;
    this.watcher?.dispose();
    this.watcher = undefined;
    clearTimeout(this.timer);
    if (location === undefined) return;
    const watcher = vscode.workspace.createFileSystemWatcher(new vscode.RelativePattern(vscode.Uri.file(dirname(location)), basename(location).replace(/[[\]{}*?]/g, '[$&]')));
    watcher.onDidChange(() => { this.soon(); });
    watcher.onDidCreate(() => { this.soon(); });
    watcher.onDidDelete(() => { this.soon(); });
    this.watcher = watcher;
  }

  /** The file has changed, as something else than the disk tells. */
  soon(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => { if (this.location !== undefined) this.onChange(this.location).catch(this.report); }, QUIET_MS);
  }

  dispose(): void {
    clearTimeout(this.timer);
    this.watcher?.dispose();
  }
}

/** The text of a file that was chosen earlier. @throws UserError when it cannot be read any more; `advice` says what to do. */
export async function textOnDisk(location: string, advice: string): Promise<string> {
  try {
    return new TextDecoder().decode(await vscode.workspace.fs.readFile(vscode.Uri.file(location)));
  } catch (cause) {
    throw new UserError(vscode.l10n.t('{0} cannot be read any more. {1}', location, advice), { cause });
  }
}
