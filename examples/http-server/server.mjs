/**
 * An HTTP server that answers an order only when the order is on stable storage.
 *
 *     node examples/http-server/server.mjs <journal> [port]
 *
 * The journal's path may also come from ORDERS_JOURNAL, the port from PORT. Port 0, the default, takes a free one.
 * `POST /orders` appends the request's body and answers 201 with its LSN. SIGTERM and SIGINT end the server in order.
 */
import { createServer } from 'node:http';
import { Journal } from 'tidemark';

const BODY_BYTES_MAX = 1024 * 1024;

const path = process.argv[2] ?? process.env.ORDERS_JOURNAL;
const port = Number(process.argv[3] ?? process.env.PORT ?? 0);
if (path === undefined) {
  console.error('usage: node server.mjs <journal> [port]');
  process.exit(2);
}

const journal = await Journal.open(path);

/** The whole body, or undefined when it is longer than an order may be. */
async function readBody(request) {
  const parts = [];
  let bytes = 0;
  for await (const part of request) {
    bytes += part.length;
    if (bytes > BODY_BYTES_MAX) return undefined;
    parts.push(part);
  }
  return Buffer.concat(parts, bytes);
}

function answer(response, status, content) {
  const text = JSON.stringify(content);
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
  response.end(text);
}

async function serve(request, response) {
  if (request.method !== 'POST' || request.url !== '/orders') return answer(response, 404, { error: 'POST /orders' });
  const order = await readBody(request);
  if (order === undefined) {
    response.setHeader('connection', 'close');
    return answer(response, 413, { error: `an order has at most ${BODY_BYTES_MAX} bytes` });
  }
  let lsn;
  try {
    lsn = await journal.append(order);
  } catch (error) {
    // The disk is full: later orders are taken again once there is room. Poisoned or closed: none are until a restart.
    return answer(response, 503, { error: error.message, code: error.code });
  }
  answer(response, 201, { lsn });
}

const server = createServer((request, response) => {
  // A client that hangs up in the middle of its request gets no answer, and loses no promise.
  serve(request, response).catch(() => response.destroy());
});

server.listen(port, '127.0.0.1', () => {
  const { backend, directReason, openReport } = journal;
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
  console.log(`journal on ${openReport.filesystem}, backend ${backend.kind} (${backend.reason}), ${directReason}`);
});

let ending = false;
async function end() {
  if (ending) return;
  ending = true;
  await new Promise((resolve) => {
    server.close(resolve);
    server.closeIdleConnections();
  });
  await journal.close();
}
process.on('SIGTERM', end);
process.on('SIGINT', end);
