// The present by the server's clock, moved on once a second for everything that says how long ago something was.

import { clock } from './clock.svelte';

class Now {
  ms = $state(clock.now());

  constructor() {
    setInterval(() => {
      if (!document.hidden) this.ms = clock.now();
    }, 1000);
  }
}

export const now = new Now();
