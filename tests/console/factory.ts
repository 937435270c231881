// A station of a test's own beside the simulated robot's: registered, given work, and played by the test, frame by frame.

import { randomBytes } from 'node:crypto';
import { request } from 'node:http';
import type { Socket } from 'node:net';

import type { Api } from './world';

interface Heard {
  type?: string;
  action?: string;
  request_id?: string;
}

/** One of the two sockets of a robot. It says what the test has it say, and hears texts that come whole. */
class Link {
  private kept: Buffer = Buffer.alloc(0);

  private constructor(
    private readonly socket: Socket,
    private readonly hear: (message: Heard) => void,
  ) {}

  static open(url: string, token: string, hear: (message: Heard, link: Link) => void): Promise<Link> {
    const to = new URL(url.replace(/^ws/, 'http'));
    const headers = {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': randomBytes(16).toString('base64'),
      authorization: `Bearer ${token}`,
    };
    return new Promise((opened, refused) => {
      const asked = request(to, { headers });
      asked.on('upgrade', (_, socket) => {
        socket.on('error', () => undefined);
        const link: Link = new Link(socket as Socket, (message) => hear(message, link));
        socket.on('data', (bytes: Buffer) => link.take(bytes));
        opened(link);
      });
      asked.on('response', (answer) => refused(new Error(`${url}: ${answer.statusCode}`)));
      asked.on('error', refused);
      asked.end();
    });
  }

  say(message: unknown): void {
    this.frame(1, Buffer.from(JSON.stringify(message)));
  }

  close(): void {
    this.socket.destroy();
  }

  private take(bytes: Buffer): void {
    this.kept = Buffer.concat([this.kept, bytes]);
    for (;;) {
      const said = (this.kept[1] ?? 0) & 0x7f;
      const head = said === 126 ? 4 : 2;
      const length = said === 126 ? (this.kept.length < 4 ? Infinity : this.kept.readUInt16BE(2)) : said;
      if (this.kept.length < head + length) return;
      const [kind, body] = [this.kept[0]! & 0x0f, this.kept.subarray(head, head + length)];
      this.kept = this.kept.subarray(head + length);
      // Who answers no ping is taken for dead.
      if (kind === 9) this.frame(10, body);
      else if (kind === 1) this.hear(JSON.parse(body.toString()) as Heard);
    }
  }

  private frame(kind: number, body: Buffer): void {
    const mask = randomBytes(4);
    const head = body.length < 126 ? Buffer.from([0x80 | kind, 0x80 | body.length]) : Buffer.from([0x80 | kind, 0xfe, body.length >> 8, body.length & 255]);
    this.socket.write(Buffer.concat([head, mask, body.map((byte, i) => byte ^ mask[i % 4]!)]));
  }
}

export class Station {
  private recorder: Link | undefined;
  private uploader: Link | undefined;
  private doing: { state: string; task_id?: string | undefined } = { state: 'idle' };

  private constructor(
    private readonly api: Api,
    readonly id: string,
    readonly device: string,
    readonly factoryId: string,
    readonly collector: string,
    readonly password: string,
    readonly organization: string,
    private readonly token: string,
    private readonly urls: { recorder_rpc_url: string; transfer_ws_url: string },
  ) {}

  /** Like the first station that there is: same factory, organization and type of robot. */
  static async made(api: Api): Promise<Station> {
    const like = (await api.get('stations?limit=1')).items[0];
    const robot = await api.post('devices/register', { factory: like.factory_name, robot_type: like.robot_type_model });
    const word = randomBytes(4).toString('hex');
    const password = `a password ${word}`;
    const collector = await api.post('data_collectors', { name: `Collector ${word}`, operator_id: `collector-${word}`, organization_id: like.organization_id, password });
    const station = await api.post('stations', { robot_id: robot.robot_id, data_collector_id: collector.id });
    return new Station(api, station.id, robot.device_id, robot.factory_id, `collector-${word}`, password, like.organization_id, robot.ws_client_auth_token, robot.endpoints);
  }

  /** An order of so many recordings, all of them given to this station as one batch. */
  async work(count: number, name = `Order ${randomBytes(4).toString('hex')}`): Promise<{ order: string; batch: string; tasks: { id: string; task_id: string }[]; name: string; sop: string; subscene: string }> {
    const scene = (await this.api.get(`orders?organization_id=${this.organization}&limit=1`)).items[0].scene_id;
    const subscene = (await this.api.get(`subscenes?scene_id=${scene}&limit=1`)).items[0].id;
    const sop = (await this.api.get('sops?limit=1')).items[0].id;
    const order = await this.api.post('orders', { organization_id: this.organization, scene_id: scene, name, target_count: count });
    const made = await this.api.post('batches', { order_id: order.id, workstation_id: this.id, task_groups: [{ sop_id: sop, subscene_id: subscene, quantity: count }] });
    return { order: order.id, batch: made.batch.id, tasks: made.tasks, name, sop, subscene };
  }

  /** Both programs are switched on. */
  async on(): Promise<void> {
    this.recorder = await Link.open(`${this.urls.recorder_rpc_url.replace(/\/+$/, '')}${this.urls.recorder_rpc_url.includes(this.device) ? '' : `/${this.device}`}`, this.token, (asked, link) => this.answer(asked, link));
    this.state('idle', 'idle');
    this.uploader = await Link.open(`${this.urls.transfer_ws_url.replace(/\/+$/, '')}/${this.device}`, this.token, () => undefined);
    const counts = { pending_count: 0, active_count: 0, uploading_count: 0, retry_wait_count: 0, waiting_ack_count: 0, completed_count: 0, failed_count: 0 };
    this.uploader.say({ type: 'connected', timestamp: new Date().toISOString(), data: { ...counts, waiting_ack_task_ids: [], uploads: [], version: '0.1.0', device_id: this.device } });
  }

  off(): void {
    this.recorder?.close();
    this.uploader?.close();
  }

  /** What the recorder says that it does. */
  state(previous: string, current: string, task_id?: string): void {
    this.doing = { state: current, task_id };
    this.recorder?.say({ type: 'state_update', timestamp: Date.now(), data: { previous, current, ...(task_id ? { task_id } : {}) } });
  }

  /** Of what a recorder is asked, only what it does is answered. */
  private answer(asked: Heard, link: Link): void {
    if (asked.action !== 'get_state') return;
    const { state, task_id } = this.doing;
    const data = { version: '0.4.0', state, running: state === 'recording', ...(task_id ? { task_config: { task_id, device_id: this.device } } : {}) };
    link.say({ type: 'rpc_response', request_id: asked.request_id, success: true, message: '', data });
  }

  /** Says that a recording is in the store, whatever is there. */
  uploaded(task_id: string): void {
    const key = `${this.factoryId}/${this.device}/${new Date().toISOString().slice(0, 10)}/${task_id}.mcap`;
    const told = { task_id, bytes_uploaded: 0, duration_ms: 0, status: 'uploaded_wait_ack', s3_key: key, object_key: key, file_size_bytes: 4096, checksum_sha256: 'ab'.repeat(32), upload_mode: 'mcap_only' };
    this.uploader?.say({ type: 'upload_complete', timestamp: new Date().toISOString(), data: told });
  }
}
