export const scanOperations = {};
