export interface MetadataCalls {}
