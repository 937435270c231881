// A word that makes a POST the same request when it is sent again (`Idempotency-Key`).

/** As a UUID; `crypto.randomUUID` is not there over plain HTTP. */
export function onceKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte, i) => byte.toString(16).padStart(2, '0') + ([3, 5, 7, 9].includes(i) ? '-' : '')).join('');
}
