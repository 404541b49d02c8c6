export const metadataOperations = {};
