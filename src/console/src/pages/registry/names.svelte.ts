// Names for ids in tables. The names of a registry are asked for once, and again when they are a while old; an id that is not among
// them stays a number.

import { SvelteMap } from 'svelte/reactivity';

import { listed } from './calls';
import { titleOf, type KindName } from './kind';
import { kindOf } from './kinds';

const OLD_MS = 30_000;
const known = new SvelteMap<string, string>();
const asked = new Map<KindName, number>();

export function nameOf(kind: KindName, id: unknown): string | undefined {
  return known.get(`${kind}/${String(id)}`);
}

export function askNames(name: KindName): void {
  const kind = kindOf(name);
  if (kind === undefined || Date.now() - (asked.get(name) ?? 0) < OLD_MS) return;
  asked.set(name, Date.now());
  listed(name, { limit: 100 }).then(
    (page) => {
      for (const entry of page.items) known.set(`${name}/${entry.id}`, titleOf(kind, entry));
    },
    () => asked.delete(name),
  );
}
