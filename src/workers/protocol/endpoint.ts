/** comlink over a Node.js message port. */
import type { Endpoint } from 'comlink';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import type { MessagePort } from 'node:worker_threads';

export function endpointOf(port: MessagePort): Endpoint {
  return nodeEndpoint(port);
}
