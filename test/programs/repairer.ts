/** Repairs a journal, unless it is killed before. */
import { IoScheduler, Journal } from 'tidemark';

const [, , path = ''] = process.argv;
await using scheduler = new IoScheduler({ backend: 'blocking', fileWorkers: 1 });
await Journal.repair(path, { scheduler });
