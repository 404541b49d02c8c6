export const hintOperations = {};
