export const copyOperations = {};
