// Why the server did not do what it was asked, in its own words.

export class Refusal extends Error {
  constructor(
    /** 0: there was no answer. */
    readonly status: number,
    /** A word of docs/problems.md. */
    readonly code: string,
    message: string,
    readonly requestId: string,
    /** Seconds after which asking again makes sense. */
    readonly retryAfter: number,
    readonly field: string,
    /** All of the answer: some refusals name what stands in the way. */
    readonly body: Record<string, unknown>,
  ) {
    super(message);
  }

  static async of(response: Response): Promise<Refusal> {
    const text = await response.text().catch(() => '');
    let body: Record<string, unknown> = {};
    try {
      const parsed: unknown = JSON.parse(text);
      if (parsed !== null && typeof parsed === 'object' && !Array.isArray(parsed)) body = parsed as Record<string, unknown>;
    } catch {
      // A proxy's page, or plain text: said below.
    }
    const said = (key: string) => (typeof body[key] === 'string' ? body[key] : '');
    return new Refusal(
      response.status,
      said('code'),
      said('detail') || said('error') || said('error_msg') || text.slice(0, 300) || response.statusText,
      said('request_id') || (response.headers.get('x-request-id') ?? ''),
      Number(response.headers.get('retry-after') ?? 0) || 0,
      said('field'),
      body,
    );
  }

  static unreachable(cause: unknown): Refusal {
    return new Refusal(0, 'unreachable', cause instanceof Error ? cause.message : String(cause), '', 0, '', {});
  }
}

export function refusalOf(thrown: unknown): Refusal {
  return thrown instanceof Refusal ? thrown : Refusal.unreachable(thrown);
}
