import type { NameCalls } from '../interface/names.js';

export const names: NameCalls = {};
