import type { MetadataCalls } from '../interface/metadata.js';

export const metadata: MetadataCalls = {};
