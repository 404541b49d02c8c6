export interface SpecialCalls {}
