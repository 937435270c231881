// A live tail that is looked at: what came is put on the page a few times a second, however fast it comes.

import { Follower, type LogEvent } from '../../lib/live.svelte';

const SHOWN = 200;
const FLUSH_MS = 300;

export class LiveTail {
  /** The newest first. */
  events = $state.raw<LogEvent[]>([]);
  paused = $state(false);
  held = $state(0);
  /** Whether more came than is shown. */
  cut = $state(false);

  readonly follower: Follower;
  #waiting: LogEvent[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(query: string) {
    this.follower = new Follower(`events/stream${query ? `?${query}` : ''}`, (message) => {
      const event = JSON.parse(message.data) as LogEvent;
      if (typeof event.position !== 'number') return;
      this.#waiting.push(event);
      // What nobody will see is not kept: the page shows so many at most, also after a long pause.
      if (this.#waiting.length > SHOWN * 2) {
        this.#waiting = this.#waiting.slice(-SHOWN);
        this.cut = true;
      }
      this.#timer ??= setTimeout(() => this.#flush(), FLUSH_MS);
    });
  }

  pause(): void {
    this.paused = true;
  }

  goOn(): void {
    this.paused = false;
    this.#flush();
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.held = this.paused ? this.#waiting.length : 0;
    if (this.paused || this.#waiting.length === 0) return;
    const all = [...this.#waiting.reverse(), ...this.events];
    this.#waiting = [];
    if (all.length > SHOWN) this.cut = true;
    this.events = all.slice(0, SHOWN);
  }

  close(): void {
    clearTimeout(this.#timer);
    this.follower.close();
  }
}
