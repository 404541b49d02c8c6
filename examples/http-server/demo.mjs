/**
 * Kills a server under load and counts what is left of the orders that it had acknowledged.
 *
 *     npm run demo                                         (builds first)
 *     node examples/http-server/demo.mjs [directory]       (default /var/tmp; the journal should lie on a real disk)
 *
 * The exit code is 0 only when every acknowledged order is in the journal, byte for byte, once, and nothing else is there.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { Agent, request as httpRequest } from 'node:http';
import { availableParallelism, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createHistogram } from 'node:perf_hooks';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Journal, JournalReader } from 'tidemark';

const CONNECTIONS = 64;
const LOAD_MS = 3000;
const ACKNOWLEDGED_MIN = 500;
const WATCHDOG_MS = 60_000;

const base = resolve(process.argv[2] ?? (existsSync('/var/tmp') ? '/var/tmp' : tmpdir()));
const directory = mkdtempSync(join(base, 'tidemark-demo-'));
const path = join(directory, 'orders.journal');

/** The server that runs now. It must not outlive this program. */
let child;
process.on('exit', () => {
  child?.kill('SIGKILL');
  rmSync(directory, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));
setTimeout(() => {
  console.error(`demo: gave up after ${WATCHDOG_MS / 1000} s`);
  process.exit(1);
}, WATCHDOG_MS).unref();

// ---- server and client -----------------------------------------------------------------------------------------------

async function startServer() {
  child = spawn(process.execPath, [fileURLToPath(new URL('server.mjs', import.meta.url)), path, '0'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(child, 'exit');
  const said = [];
  // It says where it listens, then how it writes. An end without that ends the loop too.
  for await (const line of createInterface({ input: child.stdout })) if (said.push(line) === 2) break;
  const port = Number(/:(\d+)$/.exec(said[0])?.[1]);
  if (!(port > 0)) throw new Error('the server did not start');
  return { port, ended, writes: said[1] };
}

/** Sends one order. Resolves with its LSN once the server has acknowledged it. */
function send(agent, port, order) {
  return new Promise((resolve, reject) => {
    const options = { agent, port, host: '127.0.0.1', method: 'POST', path: '/orders', headers: { 'content-length': Buffer.byteLength(order) } };
    const request = httpRequest(options, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part) => (text += part));
      response.on('error', reject);
      response.on('end', () => {
        if (response.statusCode === 201) resolve(JSON.parse(text).lsn);
        else reject(new Error(`the server answered ${response.statusCode}: ${text}`));
      });
    });
    request.on('error', reject);
    request.end(order);
  });
}

/** The text of order `number`: it can be made again, so what was sent need not be kept. Some 100 to 1000 bytes. */
function orderOf(number) {
  const item = 'abcdefghijklmnopqrstuvwxyz'[number % 26].repeat(30 + ((number * 7919) % 900));
  return JSON.stringify({ number, quantity: 1 + (number % 9), price: `${(number * 31) % 1000}.00 €`, item });
}

// ---- load, until the kill --------------------------------------------------------------------------------------------

/** Posts orders on all connections until `LOAD_MS` are over, then kills the server while they are still under way. */
async function loadAndKill({ port, ended }) {
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  const latency = createHistogram();
  const acknowledged = new Map();
  const failures = [];
  let sent = 0;
  let inFlight = 0;
  let inFlightAtKill = 0;
  let killed = false;

  const client = async () => {
    while (!killed) {
      const number = sent++;
      const startedMs = performance.now();
      inFlight++;
      try {
        acknowledged.set(number, await send(agent, port, orderOf(number)));
        latency.record(Math.max(1, Math.round((performance.now() - startedMs) * 1000)));
      } catch (error) {
        // Only the kill may break a request; the orders it broke may or may not be in the journal.
        if (!killed) failures.push(error);
        return;
      } finally {
        inFlight--;
      }
    }
  };

  const startedMs = performance.now();
  const clients = Array.from({ length: CONNECTIONS }, client);
  await Promise.race([new Promise((resolve) => setTimeout(resolve, LOAD_MS)), Promise.all(clients)]);
  const seconds = (performance.now() - startedMs) / 1000;
  const perSecond = acknowledged.size / seconds;
  inFlightAtKill = inFlight;
  killed = true;
  child.kill('SIGKILL');
  await Promise.all([...clients, ended]);
  agent.destroy();
  if (failures.length > 0) throw new Error(`requests failed before the kill: ${failures[0].message}`);
  return { acknowledged, sent, seconds, perSecond, latency, inFlightAtKill };
}

// ---- what is left ----------------------------------------------------------------------------------------------------

/** Compares every record with what was sent, and what was acknowledged with the records. */
async function check({ acknowledged, sent }) {
  const found = new Set();
  const problems = { missing: 0, damaged: 0, twice: 0, neverSent: 0 };
  const reader = await JournalReader.open(path);
  for await (const { end, payload } of reader) {
    const text = Buffer.from(payload).toString();
    const number = Number(/^\{"number":(\d+),/.exec(text)?.[1] ?? NaN);
    if (!(number < sent)) problems.neverSent++;
    else if (found.has(number)) problems.twice++;
    else if (!Buffer.from(orderOf(number)).equals(payload)) problems.damaged++;
    else if (acknowledged.has(number) && acknowledged.get(number) !== end) problems.damaged++;
    else found.add(number);
  }
  const { tail } = reader;
  await reader.close();
  for (const number of acknowledged.keys()) if (!found.has(number)) problems.missing++;
  return { found: found.size, tail, problems };
}

function say(name, text) {
  console.log(`  ${name.padEnd(13)}${text}`);
}

const count = (number) => Math.round(number).toLocaleString('en-US');
const ms = (us) => `${(us / 1000).toFixed(2)} ms`;

async function demo() {
  console.log('A server acknowledges orders once they are durable. It is killed under load. What is left?\n');
  const server = await startServer();
  say('directory', directory);
  say('server', server.writes);
  const load = await loadAndKill(server);

  // Opening recovers the journal: it finds the end and sets a torn tail aside.
  const journal = await Journal.open(path);
  const { torn } = journal.openReport;
  await journal.close();
  const { found, tail, problems } = await check(load);
  const acknowledged = load.acknowledged.size;

  say('load', `${CONNECTIONS} connections for ${load.seconds.toFixed(1)} s, then SIGKILL with ${load.inFlightAtKill} requests in flight`);
  say('requests', `${count(load.perSecond)} per second; client and server share ${availableParallelism()} processors`);
  say('latency', `p50 ${ms(load.latency.percentile(50))}, p99 ${ms(load.latency.percentile(99))} from request to answer`);
  console.log();
  say('acknowledged', count(acknowledged));
  say('found', `${count(found)} (${count(found - (acknowledged - problems.missing))} of them were written, but not yet answered)`);
  say('missing', count(problems.missing));
  say('wrong', `${count(problems.damaged)} damaged, ${count(problems.twice)} twice, ${count(problems.neverSent)} never sent`);
  say('recovery', torn === undefined ? 'a clean end, nothing was set aside' : `set ${count(torn.bytes)} bytes of a torn tail aside at LSN ${torn.lsn}: ${torn.detail}`);

  // Service goes on: the same journal, a new server.
  const again = await startServer();
  const agent = new Agent({ keepAlive: false });
  const lsn = await send(agent, again.port, 'one more order');
  child.kill('SIGTERM');
  const [code] = await again.ended;
  const last = await readLast();
  const goesOn = code === 0 && lsn === last.end && lsn > tail.position && last.text === 'one more order';
  say('restart', goesOn ? `one more order is durable, LSN ${lsn}` : `failed: exit code ${code}, answered LSN ${lsn}, the journal ends at ${last.end}`);

  const complete = Object.values(problems).every((number) => number === 0) && tail.state === 'clean-end';
  const enough = acknowledged >= ACKNOWLEDGED_MIN;
  if (!enough) console.log(`\nOnly ${acknowledged} orders were acknowledged, too few to tell anything (at least ${ACKNOWLEDGED_MIN}).`);
  console.log(complete && goesOn ? '\nNo acknowledged order was lost.' : '\nFAILED: the journal does not hold what was promised.');
  return complete && goesOn && enough;
}

async function readLast() {
  const reader = await JournalReader.open(path);
  let last = { end: 0, text: '' };
  for await (const { end, payload } of reader) last = { end, payload };
  await reader.close();
  return { end: last.end, text: Buffer.from(last.payload ?? '').toString() };
}

try {
  process.exitCode = (await demo()) ? 0 : 1;
} catch (error) {
  console.error('demo:', error);
  process.exitCode = 1;
}
