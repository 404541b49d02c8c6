export interface NameCalls {}
