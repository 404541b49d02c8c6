export const spaceOperations = {};
