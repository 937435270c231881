// Filters of the audit, between the address, where times are those of a form, and the server's query, where they are instants.

export const NAMES = ['kind', 'actor', 'action', 'entity', 'address', 'since', 'until'] as const;
export const KINDS = ['change', 'read', 'download', 'refusal', 'login', 'session_end', 'password_change'] as const;

export function asked(param: (name: string) => string): Record<string, string> {
  const query: Record<string, string> = {};
  for (const name of NAMES) {
    const value = param(name);
    if (value === '') continue;
    const at = name === 'since' || name === 'until' ? new Date(value) : undefined;
    query[name] = at && !Number.isNaN(at.getTime()) ? at.toISOString() : value;
  }
  return query;
}
