/**
 * Works on `items` in their order, `lanes` of them at a time. After a failure, of which `failed` tells what is under
 * way, no more are begun.
 * @throws the first failure, once all work has ended
 */
export async function inLanes<T>(items: Iterable<T>, lanes: number, failed: AbortController, work: (item: T) => Promise<void>): Promise<void> {
  const rest = items[Symbol.iterator]();
  await Promise.allSettled(Array.from({ length: lanes }, async () => {
    for (let next = rest.next(); next.done !== true && !failed.signal.aborted; next = rest.next()) {
      await work(next.value).catch((error: unknown) => { failed.abort(error); });
    }
  }));
  failed.signal.throwIfAborted();
}
