export const batchOperations = {};
