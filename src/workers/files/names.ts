export const nameOperations = {};
