import type { DeviceCalls } from '../interface/device.js';

export const device: DeviceCalls = {};
