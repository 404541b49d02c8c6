import type { SpecialCalls } from '../interface/special.js';

export const special: SpecialCalls = {};
