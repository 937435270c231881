// The rules of a suite while they are edited.

import type { components } from '../../../lib/schema';

export type Suite = components['schemas']['SuiteOfSite'];
export type CheckRule = components['schemas']['CheckRule'];
export type Part = NonNullable<CheckRule['part']>;
export const PARTS: Part[] = ['topics', 'duration', 'gaps', 'images'];

export interface Rules {
  scope: { kind: 'all' | 'robot_type' | 'sop'; id: number | null };
  note: string;
  approve_at: number;
  fail_below: number;
  parts: Record<string, number>;
  checks: CheckRule[];
}

/** What of a suite is edited; it is a copy. */
export function rulesOf(suite: Suite): Rules {
  return structuredClone({ scope: suite.scope as Rules['scope'], note: suite.note ?? '', approve_at: suite.approve_at, fail_below: suite.fail_below, parts: suite.parts as Record<string, number>, checks: suite.checks });
}

/** As the server takes it. */
export function given(rules: Rules): components['schemas']['GivenSuite'] {
  const { scope, note, ...rest } = rules;
  const checks = rest.checks.map((check) => (check.gate ? { name: check.name, gate: true, looked_at: check.looked_at, limits: check.limits, outside: check.outside } : check)) as CheckRule[];
  return { ...rest, checks, note: note || null, scope: scope.kind === 'all' ? { kind: 'all' } : { kind: scope.kind, id: scope.id } } as components['schemas']['GivenSuite'];
}

/** How a check of the site's suite differs from that of the shipped one, as one comparable text each. */
export function differs(check: CheckRule, shipped: CheckRule | undefined): boolean {
  if (shipped === undefined) return true;
  const said = (rule: CheckRule) => JSON.stringify([rule.gate ?? false, rule.gate ? null : rule.part, rule.gate ? null : rule.weight, rule.looked_at ?? false, Object.entries(rule.limits ?? {}).toSorted()]);
  return said(check) !== said(shipped);
}
