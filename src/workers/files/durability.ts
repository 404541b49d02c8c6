export const durabilityOperations = {};
