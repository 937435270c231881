// The last minutes of the floor's numbers. They are kept for the whole tab: who looks elsewhere and comes back finds them.

const KEPT_MS = 15 * 60_000;
const STEP_MS = 5_000;
const SHOWN = 90;

interface Sample {
  at: number;
  value: number;
}

class Samples {
  #series = new Map<string, Sample[]>();
  /** Counts the changes, so that what is drawn follows. */
  #version = $state(0);

  /** One number as it is now; the newest of five seconds counts. */
  note(name: string, value: number, at = Date.now()): void {
    const series = this.#series.get(name) ?? [];
    if (series.length === 0) this.#series.set(name, series);
    const last = series.at(-1);
    if (last !== undefined && at - last.at < STEP_MS) last.value = value;
    else series.push({ at, value });
    while (series[0] !== undefined && series[0].at < at - KEPT_MS) series.shift();
    this.#version += 1;
  }

  /** What is drawn. */
  of(name: string): number[] {
    void this.#version;
    return thinned((this.#series.get(name) ?? []).map(({ value }) => value));
  }

  /** How much a count grew from one sample to the next. */
  growth(name: string): number[] {
    void this.#version;
    const series = this.#series.get(name) ?? [];
    return thinned(series.slice(1).map(({ value }, i) => Math.max(0, value - (series[i]?.value ?? value))));
  }
}

/** More points than a line of this size can show cost more than they say: the highest of each few is kept. */
function thinned(values: number[]): number[] {
  const each = Math.ceil(values.length / SHOWN);
  if (each <= 1) return values;
  const kept: number[] = [];
  for (let i = 0; i < values.length; i += each) kept.push(Math.max(...values.slice(i, i + each)));
  return kept;
}

export const samples = new Samples();
