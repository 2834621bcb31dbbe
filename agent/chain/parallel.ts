/** Maps in order with at most `limit` at work; the first failure stops what has not begun and rejects. */
export async function parallel<T, R>(items: readonly T[], limit: number, work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  let isFailed = false;
  const worker = async () => {
    while (next < items.length && !isFailed) {
      const i = next++;
      try {
        results[i] = await work(items[i] as T);
      } catch (error) {
        isFailed = true;
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker));
  return results;
}

/**
 * What all of them say, heard at once and in the order of their answers, until it is enough: whoever is slow is not waited
 * for any longer. @throws what `ask` throws before that, or the signal's reason
 */
export async function untilEnough<T, R>(
  asked: readonly T[],
  ask: (one: T, signal: AbortSignal) => Promise<R>,
  isEnough: (heard: readonly R[]) => boolean,
  signal: AbortSignal,
): Promise<readonly R[]> {
  const enough = new AbortController();
  const until = AbortSignal.any([signal, enough.signal]);
  const heard: R[] = [];
  const hear = async (one: T) => {
    try {
      const said = await ask(one, until);
      if (!enough.signal.aborted) heard.push(said);
    } catch (error) {
      signal.throwIfAborted();
      if (!enough.signal.aborted) throw error;
    }
    if (isEnough(heard)) enough.abort();
  };
  await Promise.all(asked.map(hear));
  signal.throwIfAborted();
  return heard;
}
