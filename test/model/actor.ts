/** The program of a thread on the stage. */
import { parentPort, workerData } from 'node:worker_threads';
import { AppenderPart } from './appender.js';
import { loadProduct } from './product.js';
import { scenarioOf, type Scenario } from './scenario.js';
import { Stage, WRITER } from './stage.js';
import type { Shared } from './theatre.js';
import { StageThread } from './thread.js';
import { learnWords } from './words.js';
import { WriterPart } from './writer.js';

export interface ActorData {
  readonly shared: Shared;
  readonly me: number;
  /** Where the product's modules lie, as a URL. */
  readonly product: string;
}

const { shared, me, product: root } = workerData as ActorData;
const product = await loadProduct(root, me === WRITER ? 'writer' : 'appender');
const words = learnWords(product);
const stage = new Stage(shared.stage);
const thread = new StageThread(stage, me, shared.control, words);

let scenario: Scenario | undefined;
let scenarioSeed = 0;

function current(): Scenario {
  if (scenario === undefined || scenarioSeed !== stage.schedule) {
    scenarioSeed = stage.schedule;
    scenario = scenarioOf(scenarioSeed);
  }
  return scenario;
}

function steps(): number {
  const { fault } = current();
  return fault.kind === 'death' && fault.thread === me ? fault.step : Infinity;
}

thread.install(product);
const part = me === WRITER ? new WriterPart(thread, product, shared, current) : new AppenderPart(thread, product, shared, current);
parentPort?.postMessage('ready');
void thread.perform(part, steps);
