// Something that was asked for, and is asked for again while the page is looked at: what is there, why it is not, how old it is.

import { onDestroy } from 'svelte';

import { clock } from './clock.svelte';
import { refusalOf, type Refusal } from './refusal';

export class Loaded<T> {
  /** The newest answer; it stays while a newer one is awaited, or refused. */
  value = $state.raw<T | undefined>(undefined);
  refusal = $state.raw<Refusal | undefined>(undefined);
  loading = $state(true);
  at = $state(0);

  #ask: () => Promise<T>;
  #every: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #turn = 0;
  #closed = false;

  constructor(ask: () => Promise<T>, every: number) {
    this.#ask = ask;
    this.#every = every;
  }

  /** Asks now. An older question's answer is not shown behind a newer one's. */
  async again(): Promise<void> {
    clearTimeout(this.#timer);
    if (this.#closed) return;
    const turn = ++this.#turn;
    this.loading = true;
    let wait = this.#every;
    try {
      const value = await this.#ask();
      if (turn !== this.#turn || this.#closed) return;
      this.value = value;
      this.refusal = undefined;
      this.at = clock.now();
    } catch (thrown) {
      if (turn !== this.#turn || this.#closed) return;
      this.refusal = refusalOf(thrown);
      wait = Math.max(wait, this.refusal.retryAfter * 1000);
    }
    this.loading = false;
    if (this.#every > 0) this.#timer = setTimeout(() => this.#tick(), wait);
  }

  #tick(): void {
    if (document.hidden) addEventListener('visibilitychange', () => void this.again(), { once: true });
    else void this.again();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }
}

/**
 * Asks when the component is there, whenever something that `ask` reads first changes, and every `every` milliseconds
 * while the tab is seen (0: once).
 */
export function load<T>(ask: () => Promise<T>, every = 0): Loaded<T> {
  const loaded = new Loaded(ask, every);
  $effect(() => {
    void loaded.again();
  });
  onDestroy(() => loaded.close());
  return loaded;
}
