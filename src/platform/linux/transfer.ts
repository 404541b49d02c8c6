import type { TransferCalls } from '../interface/transfer.js';

export const transfer: TransferCalls = {};
