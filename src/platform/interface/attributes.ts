export interface AttributeCalls {}
