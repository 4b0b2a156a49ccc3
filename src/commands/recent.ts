import * as vscode from 'vscode';
import * as z from 'zod';
import type { Checkpoint } from '../checkpoint/checkpoint';

const MEMORY = 'recent';
const KEPT = 12;
const recentSchema = z.array(z.object({ name: z.string(), location: z.string() }));

export type RecentCheckpoint = z.infer<typeof recentSchema>[number];

/** The checkpoints that were opened last, by the locations that open them again: no user, password or signature stands in one. */
export class RecentCheckpoints {
  constructor(private readonly memento: vscode.Memento) {
    void vscode.commands.executeCommand('setContext', 'visionEncoder.hasRecent', this.list().length > 0);
  }

  /** The last opened first. */
  list(): readonly RecentCheckpoint[] {
    return recentSchema.catch([]).parse(this.memento.get(MEMORY));
  }

  async add({ store, name: file, location }: Checkpoint): Promise<void> {
    const name = store.title ?? file;
    await this.save([{ name, location }, ...this.list().filter(recent => recent.location !== location)].slice(0, KEPT));
  }

  async remove(location: string): Promise<void> {
    await this.save(this.list().filter(recent => recent.location !== location));
  }

  private async save(list: readonly RecentCheckpoint[]): Promise<void> {
    await this.memento.update(MEMORY, list);
    await vscode.commands.executeCommand('setContext', 'visionEncoder.hasRecent', list.length > 0);
  }
}
