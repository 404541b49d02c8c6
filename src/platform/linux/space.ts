import type { SpaceCalls } from '../interface/space.js';

export const space: SpaceCalls = {};
