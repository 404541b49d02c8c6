export interface SpaceCalls {}
