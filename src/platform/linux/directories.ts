import type { DirectoryCalls } from '../interface/directories.js';

export const directories: DirectoryCalls = {};
