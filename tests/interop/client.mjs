// One TypeScript SDK client, v1 or v2, driven by a job: `node client.mjs v1|v2 <job.json`.
//
// The job names an endpoint and operations; the answer on stdout has what the client saw for
// each. The same job against the server itself and against the mesh must give the same answer
// (run.py compares). The job format is in run.py.
import { readFileSync } from 'node:fs';

const DEADLINE_MS = 30_000;
const sdk = process.argv[2];
const job = JSON.parse(readFileSync(0, 'utf8'));

const info = { name: `hedgerow-interop-ts-${sdk}`, version: '1.0.0' };
const capabilities = { sampling: {}, elicitation: {}, roots: { listChanged: true } };

/** What this client answers when the server asks it. */
const answers = {
  'sampling/createMessage': () => ({
    role: 'assistant',
    model: 'fixed',
    stopReason: 'endTurn',
    content: { type: 'text', text: 'a fixed sample — "quoted", ünïcode' },
  }),
  'elicitation/create': () => ({ action: 'accept', content: { name: 'Ada', integer: 7 } }),
  'roots/list': () => ({ roots: job.roots ?? [] }),
};

async function v1() {
  const { Client } = await import('@modelcontextprotocol/sdk/client/index.js');
  const { StreamableHTTPClientTransport } = await import(
    '@modelcontextprotocol/sdk/client/streamableHttp.js'
  );
  const { StdioClientTransport } = await import('@modelcontextprotocol/sdk/client/stdio.js');
  const types = await import('@modelcontextprotocol/sdk/types.js');
  const client = new Client(info, { capabilities });
  const schemas = {
    'sampling/createMessage': types.CreateMessageRequestSchema,
    'elicitation/create': types.ElicitRequestSchema,
    'roots/list': types.ListRootsRequestSchema,
  };
  return {
    client,
    StreamableHTTPClientTransport,
    StdioClientTransport,
    on: (method, handler) => client.setRequestHandler(schemas[method], handler),
    anything: types.ResultSchema,
  };
}

async function v2() {
  const { Client, StreamableHTTPClientTransport } = await import('@modelcontextprotocol/client');
  const { StdioClientTransport } = await import('@modelcontextprotocol/client/stdio');
  // `auto` asks for the stateless era first and must fall back cleanly.
  const client = new Client(info, { capabilities, versionNegotiation: { mode: job.era ?? 'auto' } });
  return {
    client,
    StreamableHTTPClientTransport,
    StdioClientTransport,
    on: (method, handler) => client.setRequestHandler(method, handler),
    anything: { '~standard': { version: 1, vendor: 'interop', validate: (value) => ({ value }) } },
  };
}

const { client, on, anything, ...transports } = await (sdk === 'v2' ? v2() : v1());
const served = [];
for (const [method, answer] of Object.entries(answers)) {
  on(method, async () => {
    served.push(method);
    return answer();
  });
}

const heard = [];
let wake = () => {};
client.fallbackNotificationHandler = async (notification) => {
  heard.push(notification.method);
  wake();
};

/** Resolves when a notification of `method` has been heard, false at the deadline. */
async function hear(method) {
  const end = Date.now() + DEADLINE_MS;
  while (!heard.includes(method) && Date.now() < end) {
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, end - Date.now());
      wake = () => (clearTimeout(timer), resolve());
    });
  }
  return heard.includes(method);
}

/** One request; of a list, all its pages as one. */
async function ask(method, params, options) {
  const whole = await client.request({ method, params }, anything, options);
  while (method.endsWith('/list') && whole.nextCursor) {
    const cursor = whole.nextCursor;
    delete whole.nextCursor;
    const page = await client.request({ method, params: { ...params, cursor } }, anything, options);
    for (const [key, value] of Object.entries(page)) {
      whole[key] = Array.isArray(value) ? [...whole[key], ...value] : value;
    }
  }
  return whole;
}

/** `ask`, again until the answer contains `text`, as long as the deadline allows. */
async function askUntil(text, ...request) {
  const end = Date.now() + DEADLINE_MS;
  for (;;) {
    const result = await ask(...request);
    if (!text || JSON.stringify(result).includes(text) || Date.now() > end) return result;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function run(op) {
  const seen = {};
  const abort = new AbortController();
  const options = { timeout: DEADLINE_MS, signal: abort.signal };
  if (op.progress) {
    seen.progress = [];
    options.onprogress = (progress) => {
      seen.progress.push(progress);
      if (seen.progress.length === op.cancel_after) abort.abort('the test cancels');
    };
  }
  try {
    seen.result = await askUntil(op.until, op.method, op.params, options);
  } catch (error) {
    seen.error = op.cancel_after
      ? { cancelled: abort.signal.aborted }
      : { code: error.code ?? null, message: error.message, data: error.data };
  }
  if (op.hear) seen.heard = await hear(op.hear);
  return seen;
}

const { url, headers, command, args, env } = job.endpoint;
const transport = url
  ? new transports.StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } })
  : new transports.StdioClientTransport({ command, args, env, stderr: 'ignore' });

const answer = { ops: {} };
try {
  await client.connect(transport, { timeout: DEADLINE_MS });
  answer.initialize = {
    capabilities: client.getServerCapabilities(),
    serverInfo: client.getServerVersion(),
    instructions: client.getInstructions(),
  };
  for (const op of job.ops) answer.ops[op.name] = await run(op);
} catch (error) {
  answer.failed = String(error?.stack ?? error);
}
answer.served = [...new Set(served)].sort();
process.stdout.write(JSON.stringify(answer), async () => {
  if (url) await transport.terminateSession?.().catch(() => {});
  await client.close().catch(() => {});
  process.exit(answer.failed ? 1 : 0);
});
