export const replaceOperations = {};

export function replaceTogether(): [] {
  return [];
}
