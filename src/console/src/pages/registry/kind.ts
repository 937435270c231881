// What a registry is, for pages that know none by name: which columns its table has, what one may write, and what needs an entry.

import type { Texts } from '../../texts';

export type KindName = keyof Texts['registry']['kinds'];
export type Key = keyof Texts['registry']['fields'];

/** An entry as the server has it. */
export interface Entry {
  id: string | number;
  [key: string]: unknown;
}

/** How a value is shown. */
export type As = 'text' | 'long' | 'time' | 'state' | 'copy' | 'number' | 'flag' | 'list' | 'json' | 'scope';

export interface Column {
  key: Key;
  as?: As;
  /** The entry that the value leads to, and where its id stands (where the value is the id itself: nothing). */
  to?: { kind: KindName; id?: Key };
}

/** How a value is written. `refs` are ids of entries in an order; `scope` are factories, or the whole site. */
export type Input = 'text' | 'long' | 'json' | 'lines' | 'password' | 'email' | 'choice' | 'ref' | 'refs' | 'scope';

export interface Field {
  key: Key;
  input?: Input;
  /** Where the entry has it under another name. */
  from?: string;
  required?: boolean;
  /** It is told apart from others by this: a name that is taken is said here. */
  unique?: boolean;
  /** Only while it is made, or only afterwards. */
  only?: 'new' | 'change';
  choices?: readonly string[];
  /** The registry that an id is of. */
  of?: KindName;
}

export interface Filter {
  key: Key;
  input: 'text' | 'choice' | 'ref';
  choices?: readonly string[];
  of?: KindName;
}

/** A list that may name an entry: its route, the filter with the entry's id, and the page that shows it. */
export interface Use {
  of: KindName | 'orders' | 'batches' | 'tasks';
  filter: string;
}

export interface Kind {
  /** Also its path below `api/v1/`. */
  name: KindName;
  /** The page of the console that has it. */
  page: 'registry' | 'people';
  /** What people call an entry by. */
  title: Key;
  columns: Column[];
  /** Further values on the page of one entry. */
  details?: Column[];
  filters: Filter[];
  fields: Field[];
  uses: Use[];
  /** What has to be there before there can be an entry. */
  first?: KindName;
  /** Its streams in the log. */
  category: string;
}

export function titleOf(kind: Kind, entry: Entry): string {
  const title = entry[kind.title];
  return typeof title === 'string' && title !== '' ? title : `#${entry.id}`;
}
