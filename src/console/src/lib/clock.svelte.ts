// The server's clock, as far as answers tell it: a computer beside the floor may be minutes off, and ages and windows are the server's.

/** The header of an answer has whole seconds, and it was under way for a while: less than this says nothing. */
const NOTICED_MS = 3000;

class Clock {
  /** What has to be added to the clock of this computer. */
  ahead = $state(0);

  /** The header `Date` of an answer that has just come. */
  heard(date: string | null): void {
    const at = Date.parse(date ?? '');
    if (Number.isNaN(at)) return;
    const ahead = at + 500 - Date.now();
    const noticed = Math.abs(ahead) < NOTICED_MS ? 0 : ahead;
    // An answer that took long to come is no other clock.
    if (Math.abs(noticed - this.ahead) >= NOTICED_MS) this.ahead = noticed;
  }

  /** Milliseconds since 1970, as the server counts them. */
  now(): number {
    return Date.now() + this.ahead;
  }
}

export const clock = new Clock();
