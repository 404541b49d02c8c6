export interface TransferCalls {}
