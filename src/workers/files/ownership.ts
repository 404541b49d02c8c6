export const ownershipOperations = {};
