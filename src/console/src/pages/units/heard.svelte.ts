// Events of certain units alone, as they happen: a page about one task has nothing to do because of others.

import { tail, type LogEvent } from '../../lib/live.svelte';

/** Calls `then` for events of the streams, at most once in `pause` milliseconds, with all that came until then. */
export function onEvents(streams: () => string[], then: (events: LogEvent[]) => void, pause = 1000): void {
  $effect(() => {
    const wanted = new Set(streams());
    let timer: ReturnType<typeof setTimeout> | undefined;
    let heard: LogEvent[] = [];
    const stop = tail.listen((event) => {
      if (!wanted.has(`${event.category}/${event.stream_id}`)) return;
      heard.push(event);
      timer ??= setTimeout(() => {
        const told = heard;
        [timer, heard] = [undefined, []];
        if (!document.hidden) then(told);
      }, pause);
    });
    return () => {
      stop();
      clearTimeout(timer);
    };
  });
}
