// From what the server has to what stands in the fields of a form, and back. In a form everything is a text.

import type { Entry, Field } from './kind';

export type Values = Record<string, string>;

/** Not limited to factories. */
export const WHOLE_SITE = 'whole_site';

export class FieldError extends Error {
  constructor(
    readonly field: string,
    message: string,
  ) {
    super(message);
  }
}

function text(field: Field, value: unknown): string {
  if (field.input === 'scope') return Array.isArray(value) ? value.join(',') : WHOLE_SITE;
  if (value === undefined || value === null) return '';
  if (field.input === 'json') return JSON.stringify(value) === '{}' ? '' : JSON.stringify(value, null, 2);
  if (field.input === 'refs') return Array.isArray(value) ? value.join(',') : '';
  if (field.input === 'lines') return Array.isArray(value) ? value.join('\n') : '';
  return typeof value === 'string' ? value : String(value);
}

/** What stands in the form at first. `given` are values that a link brought along. */
export function start(fields: Field[], entry: Entry | undefined, given: (key: string) => string): Values {
  return Object.fromEntries(fields.map((field) => [field.key, entry ? text(field, entry[field.from ?? field.key]) : given(field.key)]));
}

function parsed(field: Field, value: string, notJson: string): unknown {
  if (field.input === 'lines') return value.split('\n').map((line) => line.trim()).filter(Boolean);
  if (field.input === 'refs') return value.split(',').filter(Boolean);
  if (field.input !== 'json') return value;
  if (value.trim() === '') return null;
  try {
    return JSON.parse(value) as unknown;
  } catch (error) {
    throw new FieldError(field.key, `${notJson} ${error instanceof Error ? error.message : ''}`);
  }
}

/** The body of a request: of a new entry what was filled in, of a change what is another one than before. */
export function content(fields: Field[], before: Values, now: Values, isNew: boolean, notJson: string): Record<string, unknown> {
  const said: Record<string, unknown> = {};
  for (const field of fields) {
    const value = now[field.key] ?? '';
    if (isNew ? value === '' : value === before[field.key]) continue;
    if (field.input === 'scope') {
      if (value === WHOLE_SITE) said.whole_site = true;
      else said[field.key] = value.split(',').filter(Boolean);
    } else {
      said[field.key] = parsed(field, value, notJson);
    }
  }
  return said;
}
