export interface OwnershipCalls {}
