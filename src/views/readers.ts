import type { Checkpoint } from '../checkpoint/checkpoint';

/** Keeps checkpoints open while something reads them: one that is closed meanwhile is closed after its last reader. */
export class Readers {
  private readonly counts = new Map<Checkpoint, number>();
  private readonly leaving = new Set<Checkpoint>();

  /** Runs `task`, which reads `checkpoint` to its end whatever is opened instead meanwhile. */
  async read<T>(checkpoint: Checkpoint, task: () => Promise<T>): Promise<T> {
    this.counts.set(checkpoint, (this.counts.get(checkpoint) ?? 0) + 1);
    try {
      return await task();
    } finally {
      const left = (this.counts.get(checkpoint) ?? 1) - 1;
      if (left > 0) this.counts.set(checkpoint, left);
      else {
        this.counts.delete(checkpoint);
        if (this.leaving.delete(checkpoint)) await checkpoint.close();
      }
    }
  }

  /** Closes now, or after the last reader. */
  async close(checkpoint: Checkpoint): Promise<void> {
    if (this.counts.has(checkpoint)) this.leaving.add(checkpoint);
    else await checkpoint.close();
  }
}
