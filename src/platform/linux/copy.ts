import type { CopyCalls } from '../interface/copy.js';

export const copy: CopyCalls = {};
