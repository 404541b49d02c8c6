import type { OwnershipCalls } from '../interface/ownership.js';

export const ownership: OwnershipCalls = {};
