/**
 * Runs `work` now, or, while a run is under way, once more after it: scrubbing asks faster than answers come, and only
 * the newest state is worth answering. `isCurrent` tells a run whether a newer one waits behind it; `onBusy` whether
 * anything is under way.
 */
export function latest(work: (isCurrent: () => boolean) => Promise<void>, onError: (message: string) => void, onBusy: (busy: boolean) => void = () => undefined): () => void {
  let asked = 0;
  let running = false;
  const run = async (): Promise<void> => {
    running = true;
    for (let turn = 0; turn !== asked;) {
      turn = asked;
      const current = turn;
      try {
        await work(() => current === asked);
      } catch (error) {
        onError(error instanceof Error ? error.message : String(error));
      }
    }
    running = false;
    onBusy(false);
  };
  return () => {
    asked += 1;
    onBusy(true);
    if (!running) void run();
  };
}
