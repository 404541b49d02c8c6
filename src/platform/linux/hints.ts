import type { HintCalls } from '../interface/hints.js';

export const hints: HintCalls = {};
