export const deviceOperations = {};
