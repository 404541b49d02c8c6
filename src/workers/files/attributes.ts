export const attributeOperations = {};
