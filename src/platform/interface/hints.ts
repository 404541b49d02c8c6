export interface HintCalls {}
