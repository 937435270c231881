// The same about many letters, one request after the other, where there is no route for all of them: with progress, and a stop.

import { refusalOf, type Refusal } from '../../lib/refusal';

export class Stepwise {
  of = $state(0);
  done = $state(0);
  running = $state(false);
  refused = $state.raw<{ id: string; refusal: Refusal }[]>([]);
  #stopped = false;

  stop(): void {
    this.#stopped = true;
  }

  async run(ids: string[], act: (id: number) => Promise<unknown>): Promise<void> {
    this.of = ids.length;
    this.done = 0;
    this.refused = [];
    this.running = true;
    this.#stopped = false;
    for (const id of ids) {
      if (this.#stopped) break;
      const refusal = await this.#one(Number(id), act);
      if (refusal) this.refused = [...this.refused, { id, refusal }];
      this.done += 1;
      // A login that has ended, or a server that is gone, does nothing for the others either.
      if (refusal && (refusal.status === 0 || refusal.status === 401 || refusal.status === 403)) break;
    }
    this.running = false;
  }

  async #one(id: number, act: (id: number) => Promise<unknown>): Promise<Refusal | undefined> {
    for (;;) {
      try {
        await act(id);
        return undefined;
      } catch (thrown) {
        const refusal = refusalOf(thrown);
        if (refusal.status !== 429 || this.#stopped) return refusal;
        await new Promise((wake) => setTimeout(wake, Math.max(1, refusal.retryAfter) * 1000));
      }
    }
  }
}
