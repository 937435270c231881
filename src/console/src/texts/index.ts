// What the console says, in the language that was chosen. English is complete by definition; the compiler holds Chinese to it.

import { prefs } from '../lib/prefs.svelte';
import { en } from './en';
import { zh } from './zh';

export type Texts = typeof en;

const all: Record<'en' | 'zh', Texts> = { en, zh };

/** `t().floor.title`: follows the language where it is read. */
export function t(): Texts {
  return all[prefs.language];
}
