import { Theatre } from './theatre.js';
const theatre = await Theatre.open();
const t = performance.now();
const played = theatre.play(Number(process.env['SEED'] ?? 1), Number(process.env['SCHEDULES'] ?? 2000));
console.log(played.schedules, played.steps, played.switches, (performance.now() - t) / 1000, played.seen);
if (played.failure) { console.log(played.failure.story.join('\n')); console.log(played.failure.seed, played.failure.what); }
await theatre.close();
