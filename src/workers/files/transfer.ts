export const transferOperations = {};
