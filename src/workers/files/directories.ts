export const directoryOperations = {};
