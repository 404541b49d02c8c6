export const specialOperations = {};
