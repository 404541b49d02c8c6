/** Repairs a journal again and again until it is killed or the journal needs it no more. */
import { IoScheduler, Journal } from 'tidemark';

const [, , path = ''] = process.argv;
await using scheduler = new IoScheduler({ backend: 'blocking', fileWorkers: 1 });
process.stdout.write('repairing\n');
await Journal.repair(path, { scheduler });
