import type { AttributeCalls } from '../interface/attributes.js';

export const attributes: AttributeCalls = {};
